"""The broker inside the process: queues in memory, made durable by the producers' outboxes.

``publish`` returns only when every subscriber has acked. Until then the events stay in the outbox
of the record that emitted them, so that a crash, which empties these queues, loses nothing: the
relay publishes them again.

Messages travel as they are, with the decoded ``event`` that the producer put in. Events are frozen:
subscribers can share one object, and none of them needs to parse it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence

from sagas.envelope import Message
from sagas.errors import BrokerUnavailable
from sagas.ports import Delivery

__all__ = ["EmbeddedBroker", "EmbeddedSubscription"]


class EmbeddedBroker:
    """``Broker`` for the participants of one process and one event loop.

    ``capacity``: how many messages may wait in one queue; ``publish`` awaits room in a full one.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._capacity = capacity
        self._queues: dict[str, _Queue] = {}
        self._routes: dict[str, tuple[_Queue, ...]] = {}
        self._publishing: set[asyncio.Future[None]] = set()
        self._closed = False

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Declare queues. Topics add to those of earlier calls, as on a server."""
        self._check_open()
        for name, topics in queues.items():
            self._queues.setdefault(name, _Queue(name, self._capacity)).topics.update(topics)
        self._routes.clear()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when every queue's subscriber has acked; at once for what no queue hears.

        Cancelled, it leaves what it already queued to be delivered all the same.
        """
        self._check_open()
        tally = _Tally()
        for message in messages:
            for queue in self._route(message.topic):
                if len(queue.waiting) >= self._capacity:
                    await queue.room()
                    self._check_open()
                tally.outstanding += 1
                queue.put(Delivery(message, tag=tally))
        if tally.outstanding == 0:
            return
        # Only now: acks that came while this waited for room must not count as the last one.
        tally.taken = asyncio.get_running_loop().create_future()
        self._publishing.add(tally.taken)
        try:
            await tally.taken
        finally:
            self._publishing.discard(tally.taken)

    def subscribe(self, queue: str, prefetch: int) -> EmbeddedSubscription:
        """Start to consume. ``ValueError`` for a queue that was not declared."""
        self._check_open()
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, not {prefetch}")
        try:
            return self._queues[queue].subscribe(prefetch)
        except KeyError:
            raise ValueError(f"queue {queue!r} is not declared: pass it to open() first") from None

    async def ping(self) -> None:
        self._check_open()

    async def close(self) -> None:
        self._closed = True
        for queue in self._queues.values():
            queue.close()
        for taken in self._publishing:
            if not taken.done():
                taken.set_exception(_closed("the broker"))

    def _route(self, topic: str) -> tuple[_Queue, ...]:
        route = self._routes.get(topic)
        if route is None:
            route = self._routes[topic] = tuple(
                queue
                for queue in self._queues.values()
                if not queue.topics.isdisjoint((topic, "*"))
            )
        return route

    def _check_open(self) -> None:
        if self._closed:
            raise _closed("the broker")


class EmbeddedSubscription:
    """One consumer of a queue; several share its messages."""

    def __init__(self, queue: _Queue, prefetch: int) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._unacked: dict[Delivery, None] = {}  # a set that keeps its order
        self._waiter: asyncio.Future[None] | None = None
        self._closed = False

    async def next(self, limit: int) -> list[Delivery]:
        """Whatever has gathered, at once; waits only while there is nothing or prefetch is used up.

        Raises ``BrokerUnavailable`` once this subscription or the broker is closed.
        """
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        while not self._closed:
            room = min(limit, self._prefetch - len(self._unacked))
            if room > 0 and self._queue.waiting:
                deliveries = self._queue.take(room)
                self._unacked.update(dict.fromkeys(deliveries))
                return deliveries
            await self._wait()
        raise _closed(f"the subscription to {self._queue.name}")

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in self._settled(deliveries):
            tally = delivery.tag
            assert isinstance(tally, _Tally)
            tally.ack()

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        self._queue.put_back(self._settled(deliveries))

    async def close(self) -> None:
        self.stop()
        self._queue.put_back(self._settled(list(self._unacked)))

    def stop(self) -> None:
        """Hand out nothing more; a ``next`` that waits raises."""
        self._closed = True
        self._queue.subscriptions.discard(self)
        self.wake()

    def wake(self) -> None:
        """Let a waiting ``next`` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def hungry(self) -> bool:
        """Whether prefetch has room for more."""
        return len(self._unacked) < self._prefetch

    def _settled(self, deliveries: Sequence[Delivery]) -> list[Delivery]:
        # A delivery that is not held is one that went back to the queue before: it belongs to
        # whoever gets it next, and a late ack or reject must not count.
        was_hungry = self.hungry
        held = [each for each in deliveries if self._unacked.pop(each, "not held") is None]
        if not was_hungry:
            self.wake()
        return held

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        if self.hungry:
            self._queue.idle.append(self)
        try:
            await self._waiter
        except asyncio.CancelledError:
            # Woken and cancelled at once: the message it was woken for goes to another.
            if not self._waiter.cancelled():
                self._queue.wake()
            raise
        finally:
            self._waiter = None
            if self in self._queue.idle:
                self._queue.idle.remove(self)


class _Tally:
    """Counts the deliveries of one ``publish`` that are not acked yet."""

    __slots__ = ("outstanding", "taken")

    def __init__(self) -> None:
        self.outstanding = 0
        self.taken: asyncio.Future[None] | None = None

    def ack(self) -> None:
        self.outstanding -= 1
        if self.outstanding == 0 and self.taken is not None and not self.taken.done():
            self.taken.set_result(None)


class _Queue:
    """A participant's queue. Nothing in it is per message but one ``Delivery`` in a deque."""

    def __init__(self, name: str, capacity: int) -> None:
        self.name = name
        self.topics: set[str] = set()
        self.waiting: deque[Delivery] = deque()
        self.subscriptions: set[EmbeddedSubscription] = set()
        #: Subscriptions that wait for a message; each message wakes one.
        self.idle: deque[EmbeddedSubscription] = deque()
        self._capacity = capacity
        self._publishers: deque[asyncio.Future[None]] = deque()

    def subscribe(self, prefetch: int) -> EmbeddedSubscription:
        subscription = EmbeddedSubscription(self, prefetch)
        self.subscriptions.add(subscription)
        return subscription

    def put(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)
        if self.idle:
            self.wake()

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """To the front, in their old order. Never refused: these were in the queue before."""
        self.waiting.extendleft(
            # A new object: whoever still holds the old one has no say in it any more.
            Delivery(old.message, redelivered=old.redelivered + 1, tag=old.tag)
            for old in reversed(deliveries)
        )
        for _ in deliveries:
            self.wake()

    def take(self, limit: int) -> list[Delivery]:
        waiting = self.waiting
        if len(waiting) <= limit:
            taken = list(waiting)
            waiting.clear()
        else:
            taken = [waiting.popleft() for _ in range(limit)]
        if self._publishers:
            self._make_room()
        return taken

    def wake(self) -> None:
        if self.waiting and self.idle:
            self.idle.popleft().wake()

    async def room(self) -> None:
        """Wait until fewer than ``capacity`` messages are waiting; first come, first served."""
        while len(self.waiting) >= self._capacity:
            publisher = asyncio.get_running_loop().create_future()
            self._publishers.append(publisher)
            try:
                await publisher
            except asyncio.CancelledError:
                if not publisher.cancelled():
                    self._make_room()  # the room it was promised goes to another
                elif publisher in self._publishers:
                    self._publishers.remove(publisher)
                raise

    def close(self) -> None:
        for subscription in list(self.subscriptions):
            subscription.stop()
        for publisher in self._publishers:
            if not publisher.done():
                publisher.set_exception(_closed("the broker"))
        self._publishers.clear()

    def _make_room(self) -> None:
        free = self._capacity - len(self.waiting)
        while free > 0 and self._publishers:
            publisher = self._publishers.popleft()
            if not publisher.done():
                publisher.set_result(None)
                free -= 1


def _closed(what: str) -> BrokerUnavailable:
    return BrokerUnavailable(f"{what} was closed: open a new one, then go on")
