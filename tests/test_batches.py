"""Group commit over a network: what gathers while one batch is away is the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sagas.errors import StoreUnavailable
from sagas.stores.batches import Batches


class Server:
    """Answers when it is let; remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.let = asyncio.Event()
        self.let.set()

    async def serve(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.let.wait()
        if any(item < 0 for item in items):
            raise ValueError("a negative item cannot be stored")
        if 0 in items:
            raise StoreUnavailable("away")
        return [item * 10 for item in items]


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_one_is_away_goes_together() -> None:
    server = Server()
    batches = Batches(server.serve)
    server.let.clear()
    calls = [asyncio.create_task(batches([1]))]
    await turns()
    calls += [asyncio.create_task(batches([n, n + 100])) for n in range(2, 5)]
    await turns()
    server.let.set()
    assert await asyncio.gather(*calls) == [[10], [20, 1020], [30, 1030], [40, 1040]]
    assert server.batches == [[1], [2, 102, 3, 103, 4, 104]]


async def test_a_batch_has_a_size_and_a_larger_call_goes_alone() -> None:
    server = Server()
    batches = Batches(server.serve, size=4)
    calls = ([1, 2], [3, 4], [5], [6, 7, 8, 9, 10, 11], [12])
    answers = await asyncio.gather(*map(batches, calls))
    assert answers == [[item * 10 for item in call] for call in calls]
    assert server.batches == [[1, 2, 3, 4], [5], [6, 7, 8, 9, 10, 11], [12]]


async def test_one_bad_call_fails_alone() -> None:
    batches = Batches(Server().serve)
    answers = await asyncio.gather(
        batches([1]), batches([2, -1]), batches([3]), return_exceptions=True
    )
    assert answers[0::2] == [[10], [30]]
    assert isinstance(answers[1], ValueError)


async def test_an_outage_is_told_to_all_and_the_next_call_tries_again() -> None:
    server = Server()
    batches = Batches(server.serve)
    answers = await asyncio.gather(batches([1]), batches([0]), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    assert await batches([1]) == [10]


async def test_a_cancelled_call_is_served_all_the_same_and_holds_up_nobody() -> None:
    server = Server()
    batches = Batches(server.serve)
    server.let.clear()
    calls = [asyncio.create_task(batches([n])) for n in (1, 2, 3)]
    await turns()
    calls[1].cancel()
    server.let.set()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers[0::2] == [[10], [30]]
    assert isinstance(answers[1], asyncio.CancelledError)
    assert server.batches == [[1, 2, 3]]


async def test_too_many_calls_await_room() -> None:
    server = Server()
    batches = Batches(server.serve, waiting=2)
    server.let.clear()
    calls = [asyncio.create_task(batches([n])) for n in range(1, 6)]
    await turns()
    assert server.batches == [[1, 2]]
    server.let.set()
    assert await asyncio.gather(*calls) == [[n * 10] for n in range(1, 6)]
    assert max(map(len, server.batches)) == 2


@pytest.mark.parametrize("calls", [0, 3])
async def test_drained_is_when_all_that_was_taken_is_served(calls: int) -> None:
    server = Server()
    batches = Batches(server.serve)
    taken = [asyncio.create_task(batches([n])) for n in range(1, calls + 1)]
    await asyncio.sleep(0)
    await batches.drained()
    await turns()
    assert all(call.done() for call in taken)
    assert [item for batch in server.batches for item in batch] == list(range(1, calls + 1))
