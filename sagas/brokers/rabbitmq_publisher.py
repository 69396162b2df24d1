"""Publishing: events of one routing key that leave together travel in one confirmed message.

Each routing key has a lane with one message under way. What gathers while that one is being
confirmed is the next: nothing waits for a batch to fill, and under load there are few messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from aio_pika import Message as Envelope
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import DeliveryError
from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_events import envelope_of
from sagas.brokers.rabbitmq_link import FAULTS, Link, broken_is_no_cancel, described
from sagas.brokers.rabbitmq_topology import Topology
from sagas.envelope import Message
from sagas.errors import BrokerUnavailable

__all__ = ["Publisher"]

log = logging.getLogger(__name__)

#: One message carries at most so many events, and so many bytes of them (unless one is longer).
MAX_EVENTS = 64
MAX_BYTES = 128 * 1024


class _Call:
    """One ``publish``: done when each of its messages is confirmed or has failed."""

    __slots__ = ("done", "error", "outstanding", "taken")

    def __init__(self, messages: Sequence[Message]) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outstanding = len(messages)
        self.taken: list[str] = []
        self.error = ""

    def settle(self, message: Message, error: str) -> None:
        if error:
            self.error = error
        else:
            self.taken.append(message.id)
        self.outstanding -= 1
        if not self.outstanding and not self.done.done():
            self.done.set_result(None)


class _Lane:
    """What waits for one routing key, and the task that sends it."""

    __slots__ = ("task", "topic", "waiting")

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.waiting: deque[tuple[Message, _Call]] = deque()
        self.task: asyncio.Task[None] | None = None

    def take(self) -> list[tuple[Message, _Call]]:
        """The next ones, as many as one message may carry."""
        batch: list[tuple[Message, _Call]] = []
        size = 0
        while self.waiting and len(batch) < MAX_EVENTS:
            size += len(self.waiting[0][0].data)
            if batch and size > MAX_BYTES:
                break
            batch.append(self.waiting.popleft())
        return batch


class Publisher:
    """``within_s``: how long a message may stay unconfirmed. ``sent`` counts broker messages.

    ``redeclare`` is awaited when an event that somebody should hear reached no queue.
    """

    def __init__(
        self,
        link: Link,
        topology: Topology,
        redeclare: Callable[[], Awaitable[None]],
        *,
        within_s: float,
    ) -> None:
        self._link = link
        self._topology = topology
        self._redeclare = redeclare
        self._within_s = within_s
        self._lanes: dict[str, _Lane] = {}
        self._channel: AbstractChannel | None = None
        self._channel_of: AbstractConnection | None = None
        self._events: AbstractExchange | None = None
        self._opening = asyncio.Lock()
        #: When the server last confirmed anything: one slow queue is no frozen connection.
        self._confirmed_at = 0.0
        self.sent = 0

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when all are confirmed; cancelled, it leaves the rest on its way."""
        if not messages:
            return
        self._link.now()  # without a connection all fail at once, and stay where they are
        call = _Call(messages)
        for message in messages:
            topic = message.topic
            lane = self._lanes.get(topic)
            if lane is None:
                lane = self._lanes[topic] = _Lane(topic)
            lane.waiting.append((message, call))
            if lane.task is None:
                lane.task = asyncio.create_task(self._run(lane), name=f"publishes {topic}")
        await call.done
        if call.error:
            raise BrokerUnavailable(call.error, frozenset(call.taken))

    async def put(self, queue: str, envelope: Envelope) -> bool:
        """Put a message into one queue, past the exchange; ``False``: there is no such queue."""
        return await self._send(queue, envelope, past_exchange=True)

    async def refill(self, queue: str, messages: Sequence[Message]) -> None:
        """Put these into one queue, past the exchange; return when all are confirmed."""
        lane, call = _Lane(queue), _Call(messages)
        lane.waiting.extend((message, call) for message in messages)
        while lane.waiting:
            batch = [message for message, _ in lane.take()]
            if not await self.put(queue, envelope_of(batch)):
                raise BrokerUnavailable(f"{self._link.place} has no queue {queue}")

    async def close(self) -> None:
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, lane: _Lane) -> None:
        batch: list[tuple[Message, _Call]] = []
        try:
            while lane.waiting:
                batch = lane.take()
                error = await self._publish(lane.topic, [message for message, _ in batch])
                for message, call in batch:
                    call.settle(message, error)
                batch = []
        finally:
            lane.task = None
            # Left over when this was stopped: nobody may wait for ever.
            for message, call in (*batch, *lane.waiting):
                call.settle(message, self._link.fault)
            lane.waiting.clear()

    async def _publish(self, topic: str, messages: Sequence[Message]) -> str:
        """Send these in one message; what went wrong, or nothing."""
        try:
            reached = await self._send(topic, envelope_of(messages))
        except BrokerUnavailable as error:
            return str(error)
        except Exception as error:
            # Only these events are wrong, not the lane: they stay in the outbox, and in the log.
            log.exception("%s cannot be published", topic)
            return f"{topic} cannot be published: {error!r}"
        self.sent += 1
        if reached or not self._topology.is_heard(topic):
            return ""
        log.error("%s: no queue is there for %s; declaring all anew", self._link.place, topic)
        await self._redeclare()
        return f"{self._link.place} had lost the queues for {topic}"

    async def _send(self, key: str, envelope: Envelope, *, past_exchange: bool = False) -> bool:
        """Send a message and have it confirmed; whether it reached any queue.

        Raises ``BrokerUnavailable``, whatever aio-pika makes of the fault.
        """
        place = self._link.place
        connection = self._link.now()
        started = asyncio.get_running_loop().time()
        try:
            with broken_is_no_cancel():
                async with asyncio.timeout(self._within_s):
                    events, default = await self._open(connection)
                    exchange = default if past_exchange else events
                    # mandatory: what reaches no queue comes back.
                    answer = await exchange.publish(envelope, key, mandatory=True)
        except DeliveryError as error:
            raise BrokerUnavailable(f"{place} refuses {key}: a queue is full") from error
        except TimeoutError as error:
            said = f"{place} confirmed nothing within {self._within_s:g} s"
            if self._confirmed_at < started:
                self._link.drop(connection, said)
            raise BrokerUnavailable(said) from error
        except FAULTS as error:
            raise BrokerUnavailable(f"{place}: {described(error)}") from error
        self._confirmed_at = asyncio.get_running_loop().time()
        return not isinstance(answer, DeliveredMessage)

    async def _open(
        self, connection: AbstractConnection
    ) -> tuple[AbstractExchange, AbstractExchange]:
        """Ours and the default exchange, on one channel with confirms for all lanes."""
        async with self._opening:
            channel = self._channel
            if channel is None or self._channel_of is not connection or channel.is_closed:
                channel = connection.channel(publisher_confirms=True, on_return_raises=False)
                await channel.initialize()
                self._channel, self._channel_of = channel, connection
                self._events = await channel.get_exchange(self._topology.exchange, ensure=False)
            assert self._events is not None
            return self._events, channel.default_exchange
