"""Is the service that listens here at this port ready? For health checks: it imports next to
nothing, since it runs every few seconds in every container."""

import socket
import sys

with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=2.0) as connection:
    connection.sendall(b"GET /health/ready HTTP/1.0\r\n\r\n")
    status = connection.recv(64).partition(b" ")[2][:3].decode()
sys.exit(None if status == "200" else f"not ready: {status or 'no answer'}")
