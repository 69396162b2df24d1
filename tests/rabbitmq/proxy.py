"""A TCP proxy before the server, which freezes, cuts, refuses, or swallows single AMQP frames."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

from tests.proxy import TcpProxy

__all__ = ["Proxy", "open_proxy"]

#: Class and method of what the server answers to basic.consume.
CONSUME_OK = (60, 21)


class Proxy(TcpProxy):
    """``url`` leads through it. What it does holds for all connections at once."""

    def __init__(self, url: URL) -> None:
        super().__init__()
        self.behind = url
        #: Frames with this class and method never reach the client.
        self.swallow: tuple[int, int] | None = None
        #: The connection on which the server sends these bytes breaks.
        self.breaks_of: bytes | None = None

    @property
    def url(self) -> URL:
        return self.behind.with_host("127.0.0.1").with_port(self._port)

    def lead_to(self, url: URL) -> None:
        """From now on, new connections end there."""
        self.behind = url

    @property
    def where(self) -> tuple[str | None, int]:
        return self.behind.host, self.behind.port or 5672

    async def requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flowing.wait()
            onward.write(data)
            await onward.drain()
        raise EOFError

    async def answers(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readexactly(7)
            kind, _channel, size = struct.unpack(">BHL", head)
            rest = await reader.readexactly(size + 1)
            await self._flowing.wait()
            if kind == 1 and struct.unpack(">HH", rest[:4]) == self.swallow:
                continue
            if self.breaks_of is not None and self.breaks_of in rest:
                raise EOFError
            back.write(head + rest)
            await back.drain()


@asynccontextmanager
async def open_proxy(url: URL) -> AsyncIterator[Proxy]:
    """A proxy that listens before the server of ``url``."""
    proxy = Proxy(url)
    await proxy.listen()
    try:
        yield proxy
    finally:
        with suppress(asyncio.CancelledError):
            await proxy.close()
