"""Several instances of one service share a database, and everything happens once all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Never

import pytest
from pydantic import BaseModel

from sagas import Choreography, Command, Decision, Event, Participant, Runner
from sagas.brokers.embedded import EmbeddedBroker
from sagas.ports import Broker, Outcome, Write
from sagas.stores.mongodb import MongoDatabase
from sagas.system import SystemClock, SystemIds
from sagas.testing.unruly import UnrulyBroker
from tests.engine.toy import Start, Toy
from tests.mongodb.conftest import OpenStore, event, order, stored
from tests.mongodb.proxy import Proxy

# ------------------------------------------------------------------------------------- stores


async def test_of_two_processes_one_wins_each_version(open_store: OpenStore) -> None:
    stores = [await open_store(), await open_store()]

    async def add_one(number: int) -> None:
        store = stores[number % 2]
        while True:
            now = (await store.load("orders", ["o1"])).get("o1")
            body = b"%d" % (int(now.body) + 1 if now else 1)
            write = Write("orders", "o1", now.version if now else 0, body)
            if await store.commit([write]) == [Outcome.DONE]:
                return

    await asyncio.gather(*map(add_one, range(100)))
    assert (await stored(stores[0], "o1")).body == b"100"


async def test_of_two_processes_one_makes_each_new_record(open_store: OpenStore) -> None:
    stores = [await open_store(), await open_store()]
    keys = [f"o{number}" for number in range(200)]
    # In opposite orders: a server that locks what it writes must not let them block each other.
    mine, theirs = await asyncio.gather(
        stores[0].commit([order(key, body=b"mine") for key in keys]),
        stores[1].commit([order(key, body=b"theirs") for key in reversed(keys)]),
    )
    for key, one, other in zip(keys, mine, reversed(theirs), strict=True):
        assert {one, other} == {Outcome.DONE, Outcome.CONFLICT}
        body = (await stored(stores[0], key)).body
        assert body == (b"mine" if one is Outcome.DONE else b"theirs")


async def test_what_one_process_sends_another_may_settle_while_a_third_writes(
    open_store: OpenStore,
) -> None:
    writer, sweeper = await open_store(), await open_store()
    keys = [f"o{number}" for number in range(50)]
    await writer.commit([order(key, outbox=(event(f"{key}-1"),)) for key in keys])
    for version in range(1, 10):
        added = [event(f"{key}-{version + 1}") for key in keys]
        sent = {key: frozenset({f"{key}-{version}"}) for key in reversed(keys)}
        writes = [order(key, version, outbox=(new,)) for key, new in zip(keys, added, strict=True)]
        outcomes, _ = await asyncio.gather(writer.commit(writes), sweeper.settle("orders", sent))
        assert set(outcomes) == {Outcome.DONE}
    waiting = {record.key: record.outbox for record in await writer.pending("orders", 100)}
    assert waiting == {key: (event(f"{key}-10"),) for key in keys}


# ------------------------------------------------------------------------------------- engine


class Tally(BaseModel):
    count: int = 0


class Add(Command):
    """Without an id of its caller's: nothing but the write tells whether it was done."""


class Added(Event):
    count: int


class Heard(BaseModel):
    counts: tuple[int, ...] = ()


def tallies() -> Choreography:
    tally = Participant("tally", state=Tally)
    ledger = Participant("ledger", state=Heard)

    @tally.command(Add, emits=[Added])
    def add(command: Add, tally: Tally | None) -> Decision[Tally, Added]:
        count = 1 if tally is None else tally.count + 1
        return Decision(Tally(count=count), Added(count=count))

    @ledger.follows(Added)
    def hear(event: Added, heard: Heard | None) -> Decision[Heard, Never]:
        before = () if heard is None else heard.counts
        return Decision(Heard(counts=(*before, event.count)))

    return Choreography("tallies", [tally, ledger], completed_by=[Added], compensated_by=[])


class Instances:
    """``count`` processes of every participant, each with a connection of its own."""

    def __init__(self, flow: Choreography, broker: Broker, **resources: object) -> None:
        self._flow, self._broker = flow, broker
        self._resources = resources
        self.runners: dict[str, list[Runner]] = {each.name: [] for each in flow.participants}

    @asynccontextmanager
    async def running(self, *urls: str) -> AsyncIterator[Instances]:
        async with AsyncExitStack() as stack:
            await self._broker.open(self._flow.queues())
            stack.push_async_callback(self._broker.close)
            for url in urls:
                database = MongoDatabase(url)
                stack.push_async_callback(database.close)
                for each in self._flow.participants:
                    runner = Runner(
                        each,
                        store=database.store(each.name),
                        broker=self._broker,
                        clock=SystemClock(),
                        ids=SystemIds(),
                        resources=self._resources.get(each.name),  # type: ignore[arg-type]
                    )
                    await runner.start()
                    stack.push_async_callback(runner.kill)
                    self.runners[each.name].append(runner)
            yield self
            for runners in self.runners.values():
                assert not any(runner.failed.done() for runner in runners)


async def eventually(there: Callable[[], Awaitable[bool]], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not await there():  # noqa: ASYNC110 - what is waited for happens in a server
            await asyncio.sleep(0.05)


async def _add(runners: list[Runner], keys: list[str], rounds: int) -> None:
    pairs = [(runner, key) for runner in runners for key in keys] * rounds
    await asyncio.gather(
        *(runner.execute(runner.participant.saga, key, Add()) for runner, key in pairs)
    )


async def _check(instances: Instances, keys: list[str], each: int) -> None:
    tally, ledger = (instances.runners[name][0] for name in ("tally", "ledger"))

    async def heard_all() -> bool:
        heard = [await ledger.get(ledger.participant.saga, key) for key in keys]
        return all(one is not None and len(one.counts) >= each for one in heard)

    await eventually(heard_all)
    for key in keys:
        assert (await tally.get(tally.participant.saga, key)).count == each
        heard = await ledger.get(ledger.participant.saga, key)
        assert sorted(heard.counts) == list(range(1, each + 1))


async def test_two_instances_count_every_command_once(url: str) -> None:
    async with Instances(tallies(), EmbeddedBroker()).running(url, url) as instances:
        keys = [f"t{number}" for number in range(5)]
        runners, rounds = instances.runners["tally"], 0
        while not sum(runner.counts.conflicts for runner in runners):
            rounds += 1
            assert rounds <= 20, "there was no race to lose"
            await _add(runners, keys, 10)
        await _check(instances, keys, 20 * rounds)


@pytest.mark.parametrize("command", ["insert", "update"])
async def test_a_command_whose_answer_was_lost_counts_once_and_is_heard(
    url: str, proxy: Proxy, command: str
) -> None:
    async with Instances(tallies(), EmbeddedBroker()).running(proxy.url, url) as instances:
        keys = [f"t{number}" for number in range(5)]
        runners = instances.runners["tally"]
        if command == "update":
            await _add(runners, keys, 1)
        # One of these documents with their events: no follower's, and no sweep's.
        proxy.about = b"/tally"
        proxy.lose_answer_to = command
        # The first instance alone, so that it is its own write that it meets.
        await _add(runners[:1], keys, 5)
        assert proxy.lost.is_set()
        await _add(runners, keys, 5)
        await _check(instances, keys, 17 if command == "update" else 15)


async def test_sagas_on_two_instances_end_once_whatever_is_repeated(url: str) -> None:
    toy = Toy()
    broker = UnrulyBroker(EmbeddedBroker(), seed=1, copies=3, longest_delay_s=0.05)
    world = Instances(toy.choreography, broker, **toy.resources)
    async with world.running(url, url) as instances:
        trips = instances.runners["trip"]
        ids = [SystemIds().new() for _ in range(40)]
        for number, trip_id in enumerate(ids):
            flight = "sold out" if number % 4 == 0 else "ok"
            runner = trips[number % 2]
            await runner.execute(runner.participant.saga, trip_id, Start(flight=flight))

        async def ended() -> bool:
            found = [await trips[0].get(trips[0].participant.saga, trip_id) for trip_id in ids]
            return all(trip.status in ("done", "cancelled") for trip in found)

        await eventually(ended)
        for number, trip_id in enumerate(ids):
            trip = await trips[0].get(trips[0].participant.saga, trip_id)
            assert trip.status == ("cancelled" if number % 4 == 0 else "done")
            assert toy.outside.done[f"{trip_id}/room"] == (number % 4 != 0)
