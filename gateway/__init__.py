"""The edge: everything from outside comes through here."""
