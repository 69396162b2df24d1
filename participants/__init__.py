"""The shop: one folder per service, each with its domain, its reactions and its routes."""
