"""The shop as one product: its command line, and the process that runs all of it."""
