"""Customers who order, lose their answers, ask again with the same key, and change their minds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from random import Random

from aiohttp import ClientError

from tests.e2e.kill.books import Books, Fault
from tests.e2e.kill.client import LATER, Client
from tests.e2e.kill.wishes import Wish, wish

__all__ = ["Customers", "Placed"]

#: They come within this time, which is about one life of the shop, its start included.
ARRIVE_WITHIN_S = 2.0
#: More are not let in while so many still wait for an answer.
CROWD = 200


@dataclass(frozen=True, slots=True)
class Placed:
    """What a customer knows: the number of the order, and how often the shop had been killed."""

    number: int
    kills: int


class Customers:
    """Every order that was tried. ``placed`` is by order id: those whose customer was told it."""

    def __init__(self, client: Client, seed: str) -> None:
        self._client = client
        self.seed = seed
        self._chance = Random(f"{seed}/arrivals")
        self._busy: set[asyncio.Task[None]] = set()
        self._failed: list[BaseException] = []
        self.tried = 0
        self.kills = 0
        self.placed: dict[str, Placed] = {}
        #: Keys whose customers were not told, and did not ask again.
        self.unknown: set[str] = set()
        #: Order id → the answer to the wish to cancel it.
        self.cancels: dict[str, int] = {}

    def come(self, count: int) -> None:
        """Let so many more come, each at a moment of their own. Raises what ``served`` would."""
        self._check()
        for _ in range(min(count, CROWD - len(self._busy))):
            self.tried += 1
            pause_s = self._chance.uniform(0, ARRIVE_WITHIN_S)
            self._begin(self._order(self.tried, pause_s))

    async def served(self) -> None:
        """Until everybody has been answered or has given up. Raises what any of them ran into."""
        while self._busy:
            await asyncio.wait(self._busy)
        self._check()

    async def ask_again(self, count: int) -> None:
        """Some repeat a request that was answered long ago: it must still be the same order."""
        chosen = self._chance.sample(sorted(self.placed), min(count, len(self.placed)))
        for order_id in chosen:
            await self._place(self.placed[order_id].number, again=order_id)

    def broken_promises(self, books: Books) -> Iterator[Fault]:
        """What the customers were told must be so, and each order ends as its kind may end."""
        known = {order["key"]: order_id for order_id, order in books.orders.items()}
        expected = self.unknown | {wish(self.seed, at.number).key for at in self.placed.values()}
        for key in known.keys() - expected:
            yield Fault(known[key], f"nobody ordered {key}")
        for order_id, placed in self.placed.items():
            wished = wish(self.seed, placed.number)
            order = books.orders.get(order_id)
            if order is None:
                yield Fault(order_id, f"{wished.key} was accepted and is gone")
                continue
            if order["key"] != wished.key:
                yield Fault(order_id, f"{wished.key} was accepted with the id of {order['key']}")
            ends = wished.may_end
            if self.cancels.get(order_id) == 409:
                ends = ends - {"cancelled_by_customer"}
            if order["code"] not in ends:
                yield Fault(
                    order_id, f"{wished.kind} ended with {order['code']}, not one of {ends}"
                )

    async def leave(self) -> None:
        """Let go of whoever is still there."""
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)

    def _check(self) -> None:
        if self._failed:
            raise self._failed[0]

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._busy.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._busy.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed.append(error)

    async def _order(self, number: int, pause_s: float) -> None:
        await asyncio.sleep(pause_s)  # when they come, not what they wait for
        wished = wish(self.seed, number)
        order_id = await self._place(number)
        if order_id is not None and wished.cancel_after_s is not None:
            await asyncio.sleep(wished.cancel_after_s)
            await self._cancel(order_id, wished)

    async def _place(self, number: int, again: str | None = None) -> str | None:
        wished = wish(self.seed, number)
        ask = self._client.once if wished.gives_up else self._client.insist
        try:
            answer = await ask("POST", "/api/orders", wished.body, key=wished.key)
        except (ClientError, TimeoutError):
            self.unknown.add(wished.key)
            return None
        if wished.gives_up and answer.status in LATER:
            self.unknown.add(wished.key)
            return None
        assert answer.status == 202, f"{wished.key}: {answer.status} {answer.body}"
        order_id: str = answer.body["order_id"]
        assert again in (None, order_id), f"{wished.key} was {again} and is {order_id} now"
        known = self.placed.setdefault(order_id, Placed(number, self.kills))
        assert known.number == number, f"{wished.key} got the order of number {known.number}"
        return order_id

    async def _cancel(self, order_id: str, wished: Wish) -> None:
        path, key = f"/api/orders/{order_id}/cancel", f"cancel-{wished.key}"
        answer = await self._client.insist("POST", path, {"reason": "Changed my mind"}, key=key)
        too_late = answer.status == 409 and answer.code == "too_late_to_cancel"
        assert answer.status == 202 or too_late, f"{wished.key}: {answer.status} {answer.body}"
        self.cancels[order_id] = answer.status
