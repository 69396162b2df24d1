"""The broker's queues, and whoever takes from them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sagas.errors import BrokerUnavailable
from sagas.ports import Delivery
from sagas.simulate.process import Life

if TYPE_CHECKING:
    from sagas.simulate.broker import BrokerServer

__all__ = ["Queue", "Subscribed"]

#: In peace one message in so many comes twice, or later than others.
SELDOM = 0.02


class Queue:
    """One participant's queue; several subscriptions share it."""

    def __init__(self, name: str, topics: frozenset[str]) -> None:
        self.name = name
        self.topics = topics
        self.waiting: deque[Delivery] = deque()
        self.subscriptions: list[Subscribed] = []
        self.duplicating = 0
        self.delaying = 0

    @property
    def share_twice(self) -> float:
        """Of what is sent here."""
        return 0.5 if self.duplicating else SELDOM

    @property
    def share_late(self) -> float:
        return 0.7 if self.delaying else SELDOM

    @property
    def idle(self) -> bool:
        return not self.waiting and not any(each.unacked for each in self.subscriptions)

    def put(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)
        for subscription in self.subscriptions:
            subscription.wake()


class Subscribed:
    """``Subscription`` of one life of a process."""

    def __init__(self, server: BrokerServer, life: Life, queue: Queue, prefetch: int) -> None:
        self.unacked: dict[Delivery, None] = {}
        self._server = server
        self._life = life
        self._queue = queue
        self._prefetch = prefetch
        self._waiter: asyncio.Future[None] | None = None
        queue.subscriptions.append(self)

    async def next(self, limit: int) -> list[Delivery]:
        while True:
            if self._life.hindered:
                await self._life.go_on()
            if self._server.away:
                raise BrokerUnavailable("the simulated broker is away")
            room = min(limit, self._prefetch - len(self.unacked), len(self._queue.waiting))
            if room > 0:
                taken = [self._queue.waiting.popleft() for _ in range(room)]
                self.unacked.update(dict.fromkeys(taken))
                if self._server.note is not None:
                    for delivery in taken:
                        self._tell(self._server.note, delivery)
                return taken
            self._waiter = asyncio.Future(loop=self._server.loop)
            await self._waiter

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        life = self._life
        if life.hindered:
            life.reach("before ack")
        if not life.alive or self._server.away:
            return
        was_full = len(self.unacked) >= self._prefetch
        for delivery in deliveries:
            # One that is not held went back to the queue: it belongs to whoever gets it next.
            self.unacked.pop(delivery, None)
        if was_full:
            self.wake()
        if life.hindered:
            life.reach("after ack")

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        held = [each for each in deliveries if self.unacked.pop(each, "not held") is None]
        self._put_back(held)

    async def close(self) -> None:
        self.leave()

    def leave(self) -> None:
        if self in self._queue.subscriptions:
            self._queue.subscriptions.remove(self)
        self.give_back()

    def give_back(self) -> None:
        """The connection is lost: everything unacked will come again, later, to anybody."""
        held, self.unacked = list(self.unacked), {}
        self._put_back(held)
        self.wake()

    def _put_back(self, held: Sequence[Delivery]) -> None:
        for old in reversed(held):
            again = Delivery(old.message, redelivered=old.redelivered + 1)
            self._queue.waiting.appendleft(again)
        for subscription in self._queue.subscriptions:
            subscription.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tell(self, note: Callable[..., None], delivery: Delivery) -> None:
        message = delivery.message
        assert message is not None
        again = "again" if delivery.redelivered else ""
        source = message.source.removeprefix("/")
        who = self._life.process.name
        note(who, "hears", message.type, message.subject, f"from {source}", again)
