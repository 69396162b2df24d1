"""The events of the shop, one module per service that emits them.

Names and fields are the contract between services: any other program may listen. Fields marked
``sensitive`` are redacted wherever a person or a journal would see them.
"""
