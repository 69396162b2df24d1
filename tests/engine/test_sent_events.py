"""From the outbox to the broker: what was taken, what was refused, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

from sagas import BrokerUnavailable, Message
from sagas.brokers.embedded import EmbeddedBroker
from sagas.kept import KeptEvents
from sagas.ports import Query
from sagas.testing.harness import Harness
from sagas.testing.unruly import UnrulyBroker
from tests.engine.toy import Start, Toy


class ChoosyBroker(UnrulyBroker):
    """Takes all but the refused types, and says so; ``tries`` counts publishes by type."""

    def __init__(self, *refused: str) -> None:
        super().__init__(EmbeddedBroker(), seed=0, copies=1, longest_delay_s=0.0)
        self.refused = set(refused)
        self.tries: Counter[str] = Counter()

    async def publish(self, messages: Sequence[Message]) -> None:
        self.tries.update(message.type for message in messages)
        taken = [message for message in messages if message.type not in self.refused]
        await super().publish(taken)
        if len(taken) < len(messages):
            ids = frozenset(message.id for message in taken)
            raise BrokerUnavailable("a queue is full", ids)


async def test_what_was_taken_is_not_published_again_with_what_was_refused() -> None:
    """The caller keeps the messages, except those that it names as taken."""
    toy, broker = Toy(), ChoosyBroker("RoomBooked")
    async with Harness(toy.choreography, resources=toy.resources, broker=lambda _: broker) as world:
        for n in range(20):
            await world.execute("trip", f"t{n}", Start(room="full" if n % 2 else "ok"))
        await asyncio.sleep(10)
        assert broker.tries["RoomRefused"] == 10
        assert broker.tries["RoomBooked"] > 10
        broker.refused.clear()
        await world.quiet(60)
        assert world.types("t0")[-1] == "FlightBooked"


async def test_what_is_refused_is_tried_ever_more_seldom() -> None:
    """Of an event that one full queue refuses, the others may get a copy with each try."""
    toy, broker = Toy(), ChoosyBroker("TripStarted")
    async with Harness(toy.choreography, resources=toy.resources, broker=lambda _: broker) as world:
        await world.execute("trip", "t1", Start())
        await asyncio.sleep(600)
        assert 30 < broker.tries["TripStarted"] < 60  # at most every second at first, then 16
        broker.refused.clear()
        await asyncio.sleep(20)
        assert world.types("t1")[-1] == "FlightBooked"


# --------------------------------------------------------------------------------- kept events


async def kept_in(world: Harness, name: str, since: float = 0.0) -> list[Message]:
    """The events that this participant's store keeps."""
    store = world.database.store(name)
    await store.open([KeptEvents.COLLECTION])
    kept = KeptEvents(store, world.clock, world.ids, for_s=1.0)
    return [message async for page in kept.since(since) for message in page]


async def test_sent_events_are_kept_for_a_while() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources, keep_sent_s=3_600) as world:
        await world.execute("trip", "t1", Start())
        await world.quiet()
        moment = world.clock.now()
        await world.execute("trip", "t2", Start())
        await world.quiet()
        kept = await kept_in(world, "trip")
        assert [(message.saga_id, message.type) for message in kept] == [
            ("t1", "TripStarted"),
            ("t2", "TripStarted"),
        ]
        assert kept[0] == world.events("t1")[0]
        assert [message.saga_id for message in await kept_in(world, "trip", moment)] == ["t2"]
        await asyncio.sleep(3_700)
        assert await kept_in(world, "trip") == []


async def test_an_event_leaves_its_outbox_only_once_it_is_kept() -> None:
    """No crash loses it for the queue that comes later."""
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources, keep_sent_s=3_600) as world:
        await world.execute("trip", "t1", Start())
        await asyncio.sleep(0.1)
        assert world.types("t1")[-1] == "FlightBooked"  # it is out, and everybody has it
        await world.crash("trip")
        assert await kept_in(world, "trip") == []
        await world.restart("trip")
        await world.quiet()
        assert [message.type for message in await kept_in(world, "trip")] == ["TripStarted"]


async def test_many_sent_events_are_few_records() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources, keep_sent_s=3_600) as world:
        for n in range(100):
            await world.execute("trip", f"t{n}", Start())
        await world.quiet()
        assert len(await kept_in(world, "trip")) == 100
        store = world.database.store("trip")
        await store.open([KeptEvents.COLLECTION])
        assert len(await store.query(KeptEvents.COLLECTION.name, Query(limit=100))) < 5


async def test_nothing_is_kept_where_no_queue_can_be_lost() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", "t1", Start())
        await world.quiet()
        assert await kept_in(world, "trip") == []
