"""The customer service: who people are, and their sessions."""
