"""A TCP proxy before the server, which freezes, cuts, refuses, or swallows single AMQP frames."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from yarl import URL

__all__ = ["Proxy", "open_proxy"]

#: Class and method of what the server answers to basic.consume.
CONSUME_OK = (60, 21)


class Proxy:
    """``url`` leads through it. What it does holds for all connections at once."""

    def __init__(self, url: URL) -> None:
        self.behind = url
        self._server: asyncio.Server | None = None
        self._port = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        #: Frames with this class and method never reach the client.
        self.swallow: tuple[int, int] | None = None
        self.connections = 0

    @property
    def url(self) -> URL:
        return self.behind.with_host("127.0.0.1").with_port(self._port)

    def lead_to(self, url: URL) -> None:
        """From now on, new connections end there."""
        self.behind = url

    async def listen(self) -> None:
        """Take connections (again), on the same port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no more connections, and cut those there are: the server is gone."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self, count: int | None = None) -> int:
        """Cut so many connections, or all there are; how many it were."""
        cut = list(self._pairs)[:count]
        for pair in cut:
            for writer in pair:
                writer.transport.abort()
        return len(cut)

    def freeze(self) -> None:
        """Let nothing pass, in either direction, without closing anything: as SIGSTOP does."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def close(self) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        host, port = self.behind.host, self.behind.port or 5672
        try:
            there, onward = await asyncio.open_connection(host, port)
        except OSError:  # the server itself is away
            return writer.transport.abort()
        pair = writer, onward
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, onward))
                both.create_task(self._pass_frames(there, writer))
        except* (OSError, EOFError):
            pass
        except* asyncio.CancelledError:
            pass  # the test is over; asyncio's streams would tell the log
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self._flowing.wait()
            writer.write(data)
            await writer.drain()
        raise EOFError

    async def _pass_frames(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while True:
            head = await reader.readexactly(7)
            kind, _channel, size = struct.unpack(">BHL", head)
            rest = await reader.readexactly(size + 1)
            await self._flowing.wait()
            if kind == 1 and struct.unpack(">HH", rest[:4]) == self.swallow:
                continue
            writer.write(head + rest)
            await writer.drain()


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
