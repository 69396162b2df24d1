"""Consuming: one channel per subscription, kept; events handed out, counted, acked in bulk.

A message may carry several events. Each is acked or rejected singly here; towards the server the
message is acked once all of its events are, and rejected, which counts, if one of them was. When it
comes again, what was acked of it is left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from aio_pika.abc import AbstractChannel as Channel
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_events import GIVEN_UP, events_in
from sagas.brokers.rabbitmq_link import BACKOFF, FAULTS, Link, described, is_cancelled
from sagas.errors import BrokerUnavailable, Permanent
from sagas.ports import Delivery

__all__ = ["RabbitSubscription"]

log = logging.getLogger(__name__)

#: `basic.consume` is not answered when a quorum queue has no leader.
CONSUME_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0
#: Of how many rejected messages it is remembered which of their events were acked.
REMEMBERED = 1_000
#: What is kept of a message that cannot be read.
MAX_RAW_BYTES = 65_536


class _Bundle:
    """A message of the server's, unacked, and which of its events are settled."""

    __slots__ = ("acked", "id", "open", "rejected", "tag")

    def __init__(self, tag: int, id: str | None, acked: set[int]) -> None:
        self.tag = tag
        self.id = id
        self.acked = acked
        self.open = 0
        self.rejected = False


class _Place(NamedTuple):
    """Where a delivery came from: a message, and its place among that message's events."""

    bundle: _Bundle
    number: int


class _Settlements:
    """Which messages of one channel are settled: what may be acked together, what singly."""

    def __init__(self) -> None:
        #: Every message up to this tag is settled. The server counts them from 1 on each channel.
        self._all_up_to = 0
        self._beyond: set[int] = set()

    def rejected(self, tag: int) -> None:
        self._beyond.add(tag)

    def acks(self, tags: Sequence[int]) -> list[tuple[int, bool]]:
        """How to ack these: tags, and whether everything before is meant too."""
        self._beyond.update(tags)
        while self._all_up_to + 1 in self._beyond:
            self._all_up_to += 1
            self._beyond.remove(self._all_up_to)
        together = [tag for tag in tags if tag <= self._all_up_to]
        singly = [(tag, False) for tag in tags if tag > self._all_up_to]
        return [(max(together), True), *singly] if together else singly


class RabbitSubscription:
    """``Subscription``; consumes again, by itself, whenever the connection or the queue is lost.

    ``deleted`` is awaited when the queue was deleted under its consumer.
    """

    def __init__(
        self, link: Link, queue: str, prefetch: int, deleted: Callable[[], Awaitable[None]]
    ) -> None:
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._deleted = deleted
        self._buffer: deque[Delivery] = deque()
        #: Handed out, and neither acked nor rejected.
        self._out: set[Delivery] = set()
        self._finished: list[_Bundle] = []
        self._settlements = _Settlements()
        self._acked_before: OrderedDict[str, set[int]] = OrderedDict()
        self._error = ""
        self._closed = False
        self._wake = asyncio.Event()
        self._flush = asyncio.Event()
        self._task = asyncio.create_task(self._keep_consuming(), name=f"consumes {queue}")
        self._task.add_done_callback(lambda _: self._wake.set())

    # ------------------------------------------------------------------------------- Subscription

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
            if self._task.done():
                self._task.result()  # a fault of ours: let it be seen
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
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    # ----------------------------------------------------------------------------------- settling

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
                self._finished.append(bundle)
                self._flush.set()
        self._wake.set()  # prefetch has room again

    async def _settle_on(self, channel: RawChannel) -> None:
        """Tell the server what is finished, until cancelled. What gathers goes together."""
        while True:
            await self._flush.wait()
            self._flush.clear()
            await self._tell(channel)

    async def _tell(self, channel: RawChannel) -> None:
        finished, self._finished = self._finished, []
        for bundle in finished:
            if bundle.rejected:
                self._remember(bundle)
                self._settlements.rejected(bundle.tag)
                # reject, not nack: only reject is sure to count towards the delivery limit.
                await channel.basic_reject(bundle.tag, requeue=True, wait=False)
        acked = [bundle.tag for bundle in finished if not bundle.rejected]
        for tag, multiple in self._settlements.acks(acked):
            await channel.basic_ack(tag, multiple=multiple, wait=False)

    def _remember(self, bundle: _Bundle) -> None:
        if bundle.id is not None and bundle.acked:
            self._acked_before[bundle.id] = bundle.acked
            if len(self._acked_before) > REMEMBERED:
                self._acked_before.popitem(last=False)

    # ---------------------------------------------------------------------------------- consuming

    async def _keep_consuming(self) -> None:
        failed = 0
        while True:
            try:
                connection = await self._link.soon()
                channel = connection.channel(publisher_confirms=False)
                try:
                    async with asyncio.timeout(CONSUME_WITHIN_S):
                        await channel.initialize()
                        raw = await self._consume(channel)
                    failed = 0
                    said = await self._until_lost(channel, raw)
                finally:
                    await _let_go(channel)
            except BrokerUnavailable as error:
                return self._lost(str(error))
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                said = "the channel was closed"  # aio-pika's own way to say so
            except FAULTS as error:
                said = described(error)
            self._lost(f"{self._link.place}, queue {self._queue}: {said}")
            failed += 1
            await asyncio.sleep(BACKOFF.wait_s(failed, random.random()))

    async def _consume(self, channel: Channel) -> RawChannel:
        raw = await channel.get_underlay_channel()
        await raw.basic_qos(prefetch_count=self._prefetch)
        self._settlements = _Settlements()
        await raw.basic_consume(self._queue, self._arrived)
        return raw

    async def _until_lost(self, channel: Channel, raw: RawChannel) -> str:
        """Settle what is finished until the channel is lost; why it was."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def lose(why: str) -> None:
            if not lost.done():
                lost.set_result(why)

        channel.close_callbacks.add(lambda *_: lose("the connection was lost"))
        raw.on_consumer_cancel_callbacks.add(lambda _: lose(""))
        settling = asyncio.create_task(self._settle_on(raw), name=f"acks {self._queue}")
        try:
            ends: set[asyncio.Future[Any]] = {lost, settling}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            why = lost.result() if lost.done() else "it takes no more acks"
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            if not channel.is_closed:
                # What is done is done: say so before the rest goes back to the queue.
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self._tell(raw)
        if not why:
            log.error(
                "%s: queue %s was deleted under its consumer; it is declared anew, and what it "
                "held comes back with `sagas republish`",
                self._link.place,
                self._queue,
            )
            await self._deleted()
            why = "it was deleted"
        return why

    async def _arrived(self, message: DeliveredMessage) -> None:
        properties = message.header.properties
        headers: dict[str, Any] = properties.headers or {}
        counted = headers.get("x-delivery-count", int(bool(message.redelivered)))
        given_up = str(headers.get(GIVEN_UP, ""))
        id = properties.message_id
        bundle = _Bundle(message.delivery_tag or 0, id, self._acked_before.pop(id or "", set()))
        for number, found in enumerate(events_in(properties.content_type, headers, message.body)):
            if number in bundle.acked:
                continue
            delivery = Delivery(
                None, redelivered=counted, tag=_Place(bundle, number), fault=given_up
            )
            if isinstance(found, Permanent):
                delivery.raw, delivery.fault = message.body[:MAX_RAW_BYTES], str(found)
            else:
                delivery.message = found
            bundle.open += 1
            self._buffer.append(delivery)
        if not bundle.open:
            self._finished.append(bundle)
            self._flush.set()
        self._wake.set()

    def _lost(self, why: str) -> None:
        """What was not acked will come again: on another channel, so nothing here counts."""
        self._buffer.clear()
        self._out.clear()
        self._finished.clear()
        self._error = why
        self._wake.set()


async def _let_go(channel: Channel) -> None:
    if channel.is_closed:
        return
    try:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await channel.close()
    except FAULTS as error:
        log.debug("closing a channel: %s", error)
