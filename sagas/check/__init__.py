"""The static check: what a choreography's declarations allow, explored before anything runs."""
