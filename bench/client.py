"""A lean HTTP/1.1 client on one keep-alive connection: a load generator must not be the load."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

__all__ = ["Connection"]


class Connection:
    """One request at a time."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(self._host, self._port)

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def send(
        self, method: str, path: str, body: object = None, headers: str = ""
    ) -> tuple[int, Any]:
        """``headers``: whole lines, each ending in CRLF. Returns the status and the JSON."""
        content = b"" if body is None else orjson.dumps(body)
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {self._host}\r\n{headers}"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._writer.write(head.encode() + content)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        lines = answer.split(b"\r\n")
        status, length = int(lines[0].split(b" ")[1]), 0
        for line in lines[1:]:
            if line[:15].lower() == b"content-length:":
                length = int(line[15:])
        content = await self._reader.readexactly(length) if length else b"null"
        return status, orjson.loads(content)
