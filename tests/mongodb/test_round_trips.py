"""What travels to the server and back: batches, not documents. Counted as the store's metric is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from sagas.ports import Outcome, RemoteStore
from sagas.stores.mongodb import MongoStore
from tests.mongodb.conftest import event, order

DONE, CONFLICT = Outcome.DONE, Outcome.CONFLICT


async def trips(store: MongoStore, call: Callable[[], Awaitable[object]]) -> int:
    before = store.round_trips
    await call()
    return store.round_trips - before


def test_its_round_trips_are_a_metric(store: MongoStore) -> None:
    assert isinstance(store, RemoteStore)


async def test_a_load_is_one_round_trip_whatever_the_number(store: MongoStore) -> None:
    """One round trip, whatever their number."""
    keys = [f"o{n}" for n in range(3_000)]
    assert await trips(store, lambda: store.commit([order(key) for key in keys])) == 1
    assert await trips(store, lambda: store.load("orders", keys)) == 1
    assert await trips(store, lambda: store.load("orders", ["o1"])) == 1


@pytest.mark.parametrize(
    ("new", "changed", "made"), [(50, 0, 1), (0, 50, 1), (5, 50, 1), (50, 50, 2)]
)
async def test_a_commit_is_one_command_or_two(
    store: MongoStore, new: int, changed: int, made: int
) -> None:
    """Few new records travel with those that change; many are cheaper by themselves."""
    await store.commit([order(f"old{n}") for n in range(changed)])
    writes = [order(f"old{n}", 1) for n in range(changed)] + [order(f"new{n}") for n in range(new)]
    assert await trips(store, lambda: store.commit(writes)) == made
    assert len(await store.load("orders", [write.key for write in writes])) == new + changed


async def test_a_race_that_was_lost_costs_one_more(store: MongoStore) -> None:
    """The slow path: reread the versions, to see which lost."""
    await store.commit([order(f"o{n}") for n in range(50)])
    writes = [order(f"o{n}", 2 if n == 7 else 1) for n in range(50)]
    outcomes: list[Outcome] = []

    async def commit() -> None:
        outcomes.extend(await store.commit(writes))

    assert await trips(store, commit) == 2
    assert outcomes == [CONFLICT if n == 7 else DONE for n in range(50)]


async def test_commits_that_come_at_the_same_time_share_their_round_trips(
    store: MongoStore,
) -> None:
    async def many() -> None:
        commits = (store.commit([order(f"o{n}")]) for n in range(64))
        assert await asyncio.gather(*commits) == [[DONE]] * 64

    assert await trips(store, many) <= 2


async def test_reads_that_come_at_the_same_time_share_their_round_trips(store: MongoStore) -> None:
    await store.commit([order(f"o{n}") for n in range(64)])

    async def many() -> None:
        loads = (store.load("orders", [f"o{n}", "o1"]) for n in range(64))
        for number, found in enumerate(await asyncio.gather(*loads)):
            assert set(found) == {f"o{number}", "o1"}

    assert await trips(store, many) <= 2


async def test_one_at_a_time_nothing_waits_for_a_batch_to_fill(store: MongoStore) -> None:
    async def each() -> None:
        for number in range(5):
            await store.commit([order(f"o{number}")])

    assert await trips(store, each) == 5


async def test_sent_events_leave_many_outboxes_at_once(store: MongoStore) -> None:
    await store.commit([order(f"o{n}", outbox=(event(f"m{n}"),)) for n in range(100)])
    sent = {f"o{n}": frozenset({f"m{n}"}) for n in range(100)}
    assert await trips(store, lambda: store.settle("orders", sent)) == 1
    assert await store.pending("orders", 100) == []


async def test_nothing_to_do_sends_nothing(store: MongoStore) -> None:
    async def nothing() -> None:
        assert await store.commit([]) == []
        assert await store.load("orders", []) == {}
        await store.settle("orders", {})

    assert await trips(store, nothing) == 0


async def test_a_cancelled_caller_takes_nobody_with_it(store: MongoStore) -> None:
    commits = [asyncio.create_task(store.commit([order(f"o{n}")])) for n in range(3)]
    await asyncio.sleep(0)
    commits[1].cancel()
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert results[::2] == [[DONE]] * 2
    assert isinstance(results[1], asyncio.CancelledError)
