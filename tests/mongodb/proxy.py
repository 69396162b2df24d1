"""A TCP proxy before the server: it freezes, refuses, or loses the answers to single commands."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from tests.proxy import TcpProxy

__all__ = ["Proxy", "open_proxy"]

#: Length, request id, id of the request that this answers, kind of message.
HEADER = struct.Struct("<iiii")


class Proxy(TcpProxy):
    """``url`` leads through it. What it does holds for all connections at once."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = urlsplit(url)
        #: The next command of this name reaches the server, but its answer gets lost.
        self.lose_answer_to: str | None = None
        #: … and this one does not even reach the server.
        self.lose_request_of: str | None = None
        #: Both only concern commands in which this stands.
        self.about = b""
        #: Set whenever something was lost.
        self.lost = asyncio.Event()
        self._unanswered: set[int] = set()

    @property
    def url(self) -> str:
        return self._url._replace(netloc=f"127.0.0.1:{self._port}").geturl()

    @property
    def where(self) -> tuple[str | None, int]:
        return self._url.hostname, self._url.port or 27017

    async def requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        while True:
            number, _, body = await self._message(reader)
            name = _command(body) if self.about in body else None
            if name and name == self.lose_request_of:
                self.lose_request_of = None
                self._lose()
            if name and name == self.lose_answer_to:
                self.lose_answer_to = None
                self._unanswered.add(number)
            onward.write(body)
            await onward.drain()

    async def answers(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while True:
            _, answered, body = await self._message(reader)
            if answered in self._unanswered:
                self._unanswered.discard(answered)
                self._lose()
            back.write(body)
            await back.drain()

    def _lose(self) -> None:
        self.lost.set()
        raise EOFError  # which ends both directions

    async def _message(self, reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
        head = await reader.readexactly(HEADER.size)
        size, number, answered, _ = HEADER.unpack(head)
        body = head + await reader.readexactly(size - HEADER.size)
        await self._flowing.wait()
        return number, answered, body


def _command(message: bytes) -> str:
    """The first name in the body of an OP_MSG: behind its flags, section kind and length."""
    start = HEADER.size + 4 + 1 + 4 + 1
    return message[start : message.index(b"\0", start)].decode("ascii", "replace")


@asynccontextmanager
async def open_proxy(url: str) -> AsyncIterator[Proxy]:
    """A proxy that listens before the server of ``url``."""
    proxy = Proxy(url)
    await proxy.listen()
    try:
        yield proxy
    finally:
        await proxy.close()
