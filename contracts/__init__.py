"""What travels between the services and their clients: events, API models, values."""
