"""Events handed out to one subscriber, counted, and settled one by one.

A message may carry several events. Towards the server it is acked once all of its events are, and
rejected, which counts, if one of them was. When it comes again, what was acked of it is left out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_consumer import Consumer, RawChannel
from sagas.brokers.rabbitmq_events import GIVEN_UP, events_in
from sagas.brokers.rabbitmq_link import Link
from sagas.errors import BrokerUnavailable, Permanent
from sagas.ports import Delivery

__all__ = ["RabbitSubscription"]

#: Of how many rejected messages it is remembered which of their events were acked.
REMEMBERED = 1_000
#: What is kept of a message that cannot be read.
MAX_RAW_BYTES = 65_536


class _Bundle:
    """A message of the server's, unacked, and which of its events are settled."""

    __slots__ = ("acked", "channel", "id", "open", "rejected", "tag")

    def __init__(self, channel: RawChannel, tag: int, id: str | None, acked: set[int]) -> None:
        self.channel = channel
        self.tag = tag
        self.id = id
        self.acked = acked
        self.open = 0
        self.rejected = False


class _Place(NamedTuple):
    """Where a delivery came from: a message, and its place among that message's events."""

    bundle: _Bundle
    number: int


class RabbitSubscription:
    """``Subscription``; consumes again, by itself, whenever the connection or the queue is lost.

    ``deleted`` is awaited when the queue was deleted under its consumer.
    """

    def __init__(
        self, link: Link, queue: str, prefetch: int, deleted: Callable[[], Awaitable[None]]
    ) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._buffer: deque[Delivery] = deque()
        #: Handed out, and neither acked nor rejected.
        self._out: set[Delivery] = set()
        self._acked_before: OrderedDict[str, set[int]] = OrderedDict()
        self._error = ""
        self._closed = False
        self._wake = asyncio.Event()
        self._consumer = Consumer(
            link, queue, prefetch, arrived=self._arrived, lost=self._lost, deleted=deleted
        )
        self._consumer.task.add_done_callback(lambda _: self._wake.set())

    async def next(self, limit: int) -> list[Delivery]:
        if limit < 1:
            raise ValueError(f"limit must be at least 1, not {limit}")
        while not self._closed:
            room = min(limit, self._prefetch - len(self._out), len(self._buffer))
            if room > 0:
                deliveries = [self._buffer.popleft() for _ in range(room)]
                self._out.update(deliveries)
                return deliveries
            if self._error:
                error, self._error = self._error, ""
                raise BrokerUnavailable(error)
            if self._consumer.task.done():
                self._consumer.task.result()  # a fault of ours: let it be seen
            self._wake.clear()
            await self._wake.wait()
        raise BrokerUnavailable(f"the subscription to {self._queue} was closed: make a new one")

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, acked=True)

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        self._settle(deliveries, acked=False)

    async def close(self) -> None:
        self._closed = True
        self._wake.set()
        await self._consumer.close()

    def _settle(self, deliveries: Sequence[Delivery], *, acked: bool) -> None:
        for delivery in deliveries:
            # Not held: it came on a channel that is gone, and belongs to whoever gets it next.
            if delivery not in self._out:
                continue
            self._out.remove(delivery)
            assert isinstance(delivery.tag, _Place)
            bundle, number = delivery.tag
            if acked:
                bundle.acked.add(number)
            else:
                bundle.rejected = True
            bundle.open -= 1
            if not bundle.open:
                self._finish(bundle)
        self._wake.set()  # prefetch has room again

    def _finish(self, bundle: _Bundle) -> None:
        self._consumer.settle(bundle.channel, bundle.tag, acked=not bundle.rejected)
        if bundle.rejected and bundle.acked and bundle.id is not None:
            self._acked_before[bundle.id] = bundle.acked
            if len(self._acked_before) > REMEMBERED:
                self._acked_before.popitem(last=False)

    def _arrived(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        headers: dict[str, Any] = properties.headers or {}
        counted = headers.get("x-delivery-count")
        if not isinstance(counted, int):  # the server puts it there from the second time on
            counted = int(bool(message.redelivered))
        given_up = str(headers.get(GIVEN_UP, ""))
        id = properties.message_id
        acked = self._acked_before.pop(id or "", set())
        bundle = _Bundle(message.channel, message.delivery_tag or 0, id, acked)
        for number, found in enumerate(events_in(properties.content_type, headers, message.body)):
            if number in acked:
                continue
            delivery = Delivery(None, redelivered=counted, tag=_Place(bundle, number))
            if isinstance(found, Permanent):
                delivery.raw, delivery.fault = message.body[:MAX_RAW_BYTES], str(found)
            else:
                delivery.message, delivery.fault = found, given_up
            bundle.open += 1
            self._buffer.append(delivery)
        if not bundle.open:
            self._finish(bundle)
        self._wake.set()

    def _lost(self, why: str) -> None:
        """What was not acked will come again: on another channel, so nothing here counts."""
        self._buffer.clear()
        self._out.clear()
        self._error = why
        self._wake.set()
