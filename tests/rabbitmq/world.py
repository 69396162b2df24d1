"""The toy choreography and a tracker over RabbitMQ, in one process, on a clock that hurries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from yarl import URL

from sagas.brokers.rabbitmq import RabbitBroker
from sagas.ports import Store
from sagas.testing.harness import Harness
from sagas.testing.virtual import VirtualClock
from sagas.tracker import Tracker
from tests.engine.toy import Start, Toy

__all__ = ["Trips", "open_trips", "until"]

#: The real server cannot be hurried; our own waits can.
HURRY = 40.0


class HurriedClock(VirtualClock):
    def now(self) -> float:
        loop = asyncio.get_running_loop()
        return super().now() + loop.time() * (HURRY - 1)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / HURRY)


@dataclass
class Trips:
    """The running choreography. ``name`` is its namespace on the server."""

    harness: Harness
    tracker: Tracker
    broker: RabbitBroker
    name: str

    async def start(self, key: str, **choices: str) -> None:
        await self.harness.execute("trip", key, Start(**choices))

    async def reached(self, key: str, status: str) -> None:
        """Wait until the trip has this status."""
        await until(lambda: self.harness.state("trip", key), lambda t: t and t.status == status)

    async def dead_letters(self, count: int = 1, **where: Any) -> list[dict[str, Any]]:
        """The dead letters that operators see, once there are so many."""

        async def found() -> list[dict[str, Any]]:
            letters = await self.tracker.find_dead_letters(where)
            return [await self.tracker.dead_letter(record.key) or {} for record, _ in letters]

        return await until(found, lambda letters: len(letters) >= count)


async def until(ask: Callable[[], Awaitable[Any]], is_so: Callable[[Any], Any]) -> Any:
    """Ask again and again until it is so; fails with the last answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 60  # what comes too early is tried again for some 20 s
    while not is_so(found := await ask()):
        assert loop.time() < deadline, f"still not so: {found}"
        await asyncio.sleep(0.01)
    return found


@asynccontextmanager
async def open_trips(
    url: URL,
    *,
    keep_sent_s: float = 0.0,
    store: Callable[[str, Store], Store] = lambda name, store: store,
) -> AsyncIterator[Trips]:
    toy = Toy()
    broker = RabbitBroker(str(url))
    world = Harness(
        toy.choreography,
        resources=toy.resources,
        broker=lambda _: broker,
        store=store,
        keep_sent_s=keep_sent_s,
    )
    world.clock = HurriedClock()
    tracker = Tracker(
        toy.choreography,
        store=world.database.store("watcher"),
        broker=world.broker,
        clock=world.clock,
        ids=world.ids,
    )
    await world.broker.open(toy.choreography.queues(*tracker.participants))
    await tracker.start()
    try:
        async with world:
            yield Trips(world, tracker, broker, url.query["namespace"])
            world.check()
    finally:
        await tracker.kill()
