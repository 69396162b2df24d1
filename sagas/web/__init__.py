"""The HTTP kit that services, tracker and gateway share."""
