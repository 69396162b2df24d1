"""Publishing: events of one routing key that leave together travel in one confirmed message.

Each routing key has a lane with one message under way. What gathers while that one is being
confirmed is the next: nothing waits for a batch to fill, and under load there are few messages.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import DeliveryError
from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_events import envelope_of
from sagas.brokers.rabbitmq_link import FAULTS, Link, described, is_cancelled
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
        self._exchange: AbstractExchange | None = None
        self._channel: AbstractChannel | None = None
        self._channel_of: AbstractConnection | None = None
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
                error = await self._send(lane.topic, [message for message, _ in batch])
                for message, call in batch:
                    call.settle(message, error)
                batch = []
        finally:
            lane.task = None
            # Left over when this was stopped: nobody may wait for ever.
            for message, call in (*batch, *lane.waiting):
                call.settle(message, self._link.fault)
            lane.waiting.clear()

    async def _send(self, topic: str, messages: Sequence[Message]) -> str:
        """Send one message; what went wrong, or nothing."""
        started = asyncio.get_running_loop().time()
        connection: AbstractConnection | None = None
        try:
            connection = self._link.now()
            async with asyncio.timeout(self._within_s):
                exchange = await self._open(connection)
                answer = await exchange.publish(envelope_of(messages), topic, mandatory=True)
        except BrokerUnavailable as error:
            return str(error)
        except DeliveryError:
            return f"{self._link.place} refuses {topic}: a queue that hears it is full"
        except TimeoutError:
            said = f"{self._link.place} confirmed nothing within {self._within_s:g} s"
            if connection is not None and self._confirmed_at < started:
                self._link.drop(connection, said)
            return said
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            # aio-pika raises it though nobody cancelled: the connection broke in this moment.
            return f"{self._link.place}: the connection broke before {topic} was confirmed"
        except FAULTS as error:
            return f"{self._link.place}: {described(error)}"
        except Exception as error:
            # Only these messages are wrong, not the lane: they stay in the outbox, and in the log.
            log.exception("%s cannot be published", topic)
            return f"{topic} cannot be published: {error!r}"
        self.sent += 1
        self._confirmed_at = asyncio.get_running_loop().time()
        if isinstance(answer, DeliveredMessage) and self._topology.is_heard(topic):
            return await self._unheard(topic)
        return ""

    async def _open(self, connection: AbstractConnection) -> AbstractExchange:
        """The exchange on a channel with confirms; on this connection, once for all lanes."""
        async with self._opening:
            channel = self._channel
            usable = channel is not None and not channel.is_closed
            if self._exchange is None or self._channel_of is not connection or not usable:
                channel = connection.channel(publisher_confirms=True, on_return_raises=False)
                await channel.initialize()
                self._channel, self._channel_of = channel, connection
                self._exchange = await channel.get_exchange(self._topology.exchange, ensure=False)
            return self._exchange

    async def _unheard(self, topic: str) -> str:
        """It reached no queue although one is declared for it: somebody deleted that."""
        log.error("%s: no queue is there for %s; declaring all anew", self._link.place, topic)
        await self._redeclare()
        return f"{self._link.place} had lost the queues for {topic}"
