"""A store behind a network: late, slow, away, or done without anybody hearing of it.

The server does its work whatever became of the process that asked: a write under way when its
process dies may be done before the crash, after the restart, or never.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.simulate.process import Life
from sagas.simulate.schedule import FaultKind
from sagas.testing.memory import MemoryDatabase, MemoryStore

__all__ = ["SimulatedStore", "StoreServer", "at_once"]

T = TypeVar("T")
Written = Callable[[str, str, Sequence[Write], Sequence[Outcome]], None]

PATIENCE_S = 0.25
LATE_S = 1.5
SLOW_S = 0.3
USUAL_S = 0.002


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that only ever gives way, never waits: on the server it is one instant."""
    while True:
        try:
            work.send(None)
        except StopIteration as done:
            result: T = done.value
            return result


class StoreServer:
    """One participant's database, shared by all its processes. ``written`` hears every commit.

    ``embedded``: it runs inside the process, so nothing is done for one that has crashed.
    """

    def __init__(
        self,
        namespace: str,
        database: MemoryDatabase,
        chance: random.Random,
        written: Written,
        *,
        embedded: bool,
    ) -> None:
        self.embedded = embedded
        self.namespace = namespace
        self.chance = chance
        #: How many outages, and slow spells, are on.
        self.away = 0
        self.slow = 0
        self.written = written
        self._database = database
        #: Looks without delay, for the world itself; it knows what was opened.
        self._desk = database.store(namespace)
        self._collections: dict[str, Collection] = {}

    def connect(self, life: Life) -> SimulatedStore:
        return SimulatedStore(self, life, self._database.store(self.namespace))

    def opened(self, collections: Sequence[Collection]) -> None:
        self._collections.update((each.name, each) for each in collections)
        at_once(self._desk.open(list(self._collections.values())))

    @property
    def settled(self) -> bool:
        """Whether no outbox holds anything."""
        return not any(at_once(self._desk.pending(name, 1)) for name in self._collections)

    def delay_s(self) -> float:
        return self.chance.random() * (SLOW_S if self.slow else USUAL_S)


class SimulatedStore:
    """``Store`` as one life of a process sees it."""

    def __init__(self, server: StoreServer, life: Life, inner: MemoryStore) -> None:
        self._server = server
        self._life = life
        self._inner = inner

    async def open(self, collections: Sequence[Collection]) -> None:
        await self._call("read", lambda: self._inner.open(collections))
        self._server.opened(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        return await self._call("read", lambda: self._inner.load(collection, keys))

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        def commit() -> list[Outcome]:
            outcomes = at_once(self._inner.commit(writes))
            server = self._server
            server.written(self._life.process.name, server.namespace, writes, outcomes)
            return outcomes

        return await self._ask("commit", commit)

    async def query(self, collection: str, query: Query) -> list[Record]:
        return await self._call("read", lambda: self._inner.query(collection, query))

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        return await self._call("read", lambda: self._inner.due(collection, until, limit))

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        return await self._call("read", lambda: self._inner.pending(collection, limit, after))

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        await self._call("commit", lambda: self._inner.settle(collection, sent))

    async def expire(self, collection: str, now: float, limit: int) -> int:
        return await self._call("commit", lambda: self._inner.expire(collection, now, limit))

    async def ping(self) -> None:
        await self._call("read", self._inner.ping)

    async def close(self) -> None:
        await self._inner.close()

    async def _call(self, what: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await self._ask(what, lambda: at_once(work()))

    async def _ask(self, what: str, work: Callable[[], T]) -> T:
        life, server, loop = self._life, self._server, asyncio.get_running_loop()
        fate = life.reach("before " + what)
        if life.held_up:
            await life.go_on()
        answer: asyncio.Future[T] = loop.create_future()
        if server.away or fate is FaultKind.REQUEST_LOST:
            loop.call_later(PATIENCE_S, _fail, answer)
        elif fate is FaultKind.REQUEST_LATE:
            loop.call_later(PATIENCE_S, _fail, answer)
            loop.call_later(LATE_S, self._serve, answer, work, fate)
        else:
            loop.call_later(server.delay_s(), self._serve, answer, work, fate)
        result = await answer
        life.reach("after " + what)
        if life.held_up:
            await life.go_on()
        return result

    def _serve(
        self, answer: asyncio.Future[T], work: Callable[[], T], fate: FaultKind | None
    ) -> None:
        if self._server.embedded and not self._life.alive:
            return
        if self._server.away:
            _fail(answer)
            return
        try:
            result = work()
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
            return
        loop = asyncio.get_running_loop()
        if fate is FaultKind.ANSWER_LOST:
            loop.call_later(PATIENCE_S, _fail, answer)
        else:
            loop.call_later(self._server.delay_s(), _answer, answer, result)


def _answer(answer: asyncio.Future[T], result: T) -> None:
    if not answer.done():
        answer.set_result(result)


def _fail(answer: asyncio.Future[Any]) -> None:
    if not answer.done():
        answer.set_exception(StoreUnavailable("the simulated store did not answer"))
