"""A store behind a network: late, slow, away, or done without anybody hearing of it.

The server does its work whatever became of the process that asked: a write under way when its
process dies may be done before the crash, after the restart, or never.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.simulate.network import Network
from sagas.simulate.process import Life
from sagas.simulate.schedule import FaultKind
from sagas.testing.tables import Tables

__all__ = ["SimulatedStore", "StoreServer"]

T = TypeVar("T")
Written = Callable[[str, str, Sequence[Write], Sequence[Outcome]], None]

PATIENCE_S = 0.25
LATE_S = 1.5
SLOW_S = 0.3
#: So many answers are there as soon as the work is done: it makes worlds shorter, and what happens
#: between the two is as likely to happen before both.
AT_ONCE = 0.6


class StoreServer:
    """One participant's database, shared by all its processes. ``written`` hears every commit.

    ``pace_s``: what its answers take at most in peace. ``embedded``: it runs inside the process,
    so nothing is done for one that has crashed.
    """

    def __init__(
        self,
        namespace: str,
        network: Network,
        written: Written,
        *,
        pace_s: float,
        embedded: bool,
    ) -> None:
        self.embedded = embedded
        self.namespace = namespace
        self.network = network
        self.pace_s = pace_s
        self.tables = Tables(namespace)
        #: How many outages, and slow spells, are on.
        self.away = 0
        self.slow = 0
        self.written = written
        #: Nothing was ever written.
        self.is_empty = True
        #: Requests on their way, or at work.
        self.busy = 0

    @property
    def quiet(self) -> bool:
        """Whether no request is on its way."""
        return not self.busy

    def connect(self, life: Life) -> SimulatedStore:
        return SimulatedStore(self, life)

    def send(self, callback: Callable[..., object], *arguments: object) -> None:
        """There or back."""
        network = self.network
        if self.slow:
            network.loop.after(network.draw() * SLOW_S, callback, *arguments)
        else:
            network.send(self.pace_s, callback, *arguments)


class SimulatedStore:
    """``Store`` as one life of a process sees it."""

    def __init__(self, server: StoreServer, life: Life) -> None:
        self._server = server
        self._life = life
        self._loop = server.network.loop
        self._tables = server.tables

    async def open(self, collections: Sequence[Collection]) -> None:
        await self._ask("read", self._tables.open, collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        return await self._ask("read", self._tables.load, collection, keys)

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        return await self._ask("commit", self._commit, writes)

    def _commit(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = self._tables.commit(writes)
        server = self._server
        server.written(self._life.process.name, server.namespace, writes, outcomes)
        server.is_empty = False
        return outcomes

    async def query(self, collection: str, query: Query) -> list[Record]:
        return await self._ask("read", self._tables.query, collection, query)

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        return await self._ask("read", self._tables.due, collection, until, limit)

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        return await self._ask("read", self._tables.pending, collection, limit, after)

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        await self._ask("commit", self._tables.settle, collection, sent)

    async def expire(self, collection: str, now: float, limit: int) -> int:
        return await self._ask("commit", self._tables.expire, collection, now, limit)

    async def ping(self) -> None:
        await self._ask("read", _nothing)

    async def close(self) -> None:
        """Nothing is open."""

    async def _ask(self, what: str, work: Callable[..., T], *arguments: Any) -> T:
        life, server = self._life, self._server
        fate = await life.pass_by("before " + what) if life.hindered else None
        if server.is_empty and what == "read" and fate is None:
            result = work(*arguments)  # the world has only begun: nobody waits for nothing
        else:
            result = await self._send(work, arguments, fate)
        if life.hindered:
            await life.pass_by("after " + what)
        return result

    def _send(
        self, work: Callable[..., T], arguments: Sequence[Any], fate: FaultKind | None
    ) -> asyncio.Future[T]:
        server, loop = self._server, self._loop
        answer: asyncio.Future[T] = asyncio.Future(loop=loop)
        lost = server.away or fate is FaultKind.REQUEST_LOST
        late = fate is FaultKind.REQUEST_LATE
        if lost or late:
            loop.after(PATIENCE_S, _fail, answer)
        if not lost:
            server.busy += 1
            send = partial(loop.after, LATE_S) if late else server.send
            send(self._serve, answer, work, arguments, fate)
        return answer

    def _serve(
        self,
        answer: asyncio.Future[T],
        work: Callable[..., T],
        arguments: Sequence[Any],
        fate: FaultKind | None,
    ) -> None:
        server = self._server
        server.busy -= 1
        if server.embedded and not self._life.alive:
            return
        if server.away:
            _fail(answer)
            return
        result = work(*arguments)
        if fate is FaultKind.ANSWER_LOST:
            self._loop.after(PATIENCE_S, _fail, answer)
        elif server.network.at_once(AT_ONCE):
            _answer(answer, result)
        else:
            server.send(_answer, answer, result)


def _nothing() -> None:
    pass


def _answer(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(StoreUnavailable("the simulated store did not answer"))
