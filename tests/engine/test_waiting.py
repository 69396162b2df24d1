"""Whoever waits for a document sees its change, whichever instance of the service makes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from sagas import Runner
from sagas.brokers.embedded import EmbeddedBroker
from sagas.ports import Record, Store
from sagas.testing.harness import Harness
from tests.engine.toy import Start, Toy, Trip


class CountingStore:
    """``reads`` counts loads."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.reads = 0

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        self.reads += 1
        return await self._inner.load(collection, keys)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Waiting:
    """``here`` is an instance that hears nothing: another one does all the work."""

    def __init__(self, world: Harness, here: Runner, store: CountingStore) -> None:
        self.world = world
        self.here = here
        self.store = store

    async def until(self, status: str, within_s: float = 60.0, **more: asyncio.Event) -> object:
        kind = self.here.participant.saga
        return await self.here.until(
            kind, "t1", lambda trip: trip and trip.status == status, within_s=within_s, **more
        )


@pytest.fixture
async def waiting() -> AsyncIterator[Waiting]:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        store = CountingStore(world.database.store("trip"))
        silent = EmbeddedBroker()
        await silent.open(toy.choreography.queues())
        here = Runner(
            world.runners["trip"].participant,
            store=store,  # type: ignore[arg-type]
            broker=silent,
            clock=world.clock,
            ids=world.ids,
            resources=toy.resources["trip"],
        )
        await here.start()
        yield Waiting(world, here, store)
        await here.kill()
        await silent.close()


async def test_a_change_in_another_instance_is_seen_soon(waiting: Waiting) -> None:
    loop = asyncio.get_running_loop()
    for_it = asyncio.create_task(waiting.until("done"))
    await asyncio.sleep(0.2)
    await waiting.world.execute("trip", "t1", Start())
    began = loop.time()
    assert await for_it == Trip(status="done")
    assert loop.time() - began < 0.5  # not longer than was waited before


async def test_a_long_wait_asks_the_store_at_most_every_second(waiting: Waiting) -> None:
    assert await waiting.until("done", within_s=60.0) is None
    assert 55 < waiting.store.reads < 75


async def test_a_wait_ends_when_the_server_stops(waiting: Waiting) -> None:
    stopping = asyncio.Event()
    for_it = asyncio.create_task(waiting.until("done", stopping=stopping))
    await asyncio.sleep(5)
    stopping.set()
    async with asyncio.timeout(1.1):
        assert await for_it is None
