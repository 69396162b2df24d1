"""Requests and resources of the REST API, one file per service."""
