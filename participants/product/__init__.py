"""The product service: the catalogue that staff maintain and everybody reads."""
