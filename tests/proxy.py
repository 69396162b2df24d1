"""A TCP proxy before a real server: it refuses, cuts and freezes; what it reads is its heirs'."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

__all__ = ["TcpProxy"]


class TcpProxy(ABC):
    """Stands before the server at ``where``. What it does holds for all connections at once."""

    def __init__(self) -> None:
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._port = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    @abstractmethod
    def where(self) -> tuple[str | None, int]:
        """Host and port of the server, for new connections."""

    @abstractmethod
    async def requests(self, reader: asyncio.StreamReader, onward: asyncio.StreamWriter) -> None:
        """Pass on what the client says; ``EOFError`` ends the connection in both directions."""

    @abstractmethod
    async def answers(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Pass on what the server says, likewise."""

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
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            there, onward = await asyncio.open_connection(*self.where)
        except OSError:  # the server itself is away
            return writer.transport.abort()
        pair = writer, onward
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.requests(reader, onward))
                both.create_task(self.answers(there, writer))
        except* (OSError, EOFError):
            pass  # one side has gone, or was cut: the other goes, too
        except* asyncio.CancelledError:
            pass  # the test is over; asyncio's streams would tell the log
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()
