"""The journal: a subscriber that forwards every event to Kafka.

It acknowledges a delivery only after Kafka confirmed the record. Kafka away: deliveries wait where
they are durable (a broker's queue, or a store of the journal's own), orders go on, and afterwards
the journal catches up. After a crash some events are sent again, with the same ids.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from sagas.envelope import Message, decode, encode
from sagas.errors import BrokerUnavailable
from sagas.insight.address import JOURNAL, KafkaAddress
from sagas.insight.records import record_of
from sagas.insight.topics import make_topic
from sagas.outages import patiently
from sagas.ports import Broker, Clock, Collection, Delivery, Query, Store, Write
from sagas.tracker import Plan

__all__ = ["Journal"]

log = logging.getLogger(__name__)

PREFETCH: Final = 1_000
AT_ONCE: Final = 500
#: How long Kafka may take to confirm before the connection is made anew.
CONFIRM_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0
#: A record beyond Kafka's limit is cut to its attributes: it must not stop the others.
MOST_BYTES: Final = 900_000


class Journal:
    """Forwards what ``broker`` delivers. ``run`` until it is cancelled; it survives any outage.

    ``spool``: where deliveries wait while Kafka is away, for a broker whose queues are in memory
    and whose publishers would be held up; without it they wait in the broker.
    """

    SPOOL: Final = Collection("journal")

    def __init__(
        self,
        broker: Broker,
        address: KafkaAddress,
        plan: Plan,
        clock: Clock,
        *,
        spool: Store | None = None,
    ) -> None:
        self._broker = broker
        self._address = address
        self._plan = plan
        self._clock = clock
        self._spool = spool
        self._producer: AIOKafkaProducer | None = None
        self._sending = asyncio.Lock()
        self._waiting: deque[Message] = deque()
        #: Events that Kafka confirmed, deliveries that are no events, and times it was away.
        self.forwarded = 0
        self.undecodable = 0
        self.outages = 0
        self.spooled = 0

    @property
    def lag_s(self) -> float:
        """The age of the oldest event that waits for Kafka; 0 when none does."""
        return max(0.0, self._clock.now() - self._waiting[0].time) if self._waiting else 0.0

    @property
    def waiting(self) -> int:
        """Events that were delivered here and are not confirmed."""
        return len(self._waiting) + self.spooled

    async def ping(self) -> None:
        """Raise ``BrokerUnavailable`` while Kafka is away."""
        if self._producer is None:
            raise BrokerUnavailable(f"Kafka at {self._address.brokers} does not answer")

    async def run(self) -> None:
        """Forward for ever."""
        if self._spool is not None:
            await self._spool.open([self.SPOOL])
        subscription = self._broker.subscribe(JOURNAL, PREFETCH)
        emptying = asyncio.create_task(self._empty_spool())
        try:
            while True:
                try:
                    deliveries = await subscription.next(AT_ONCE)
                except BrokerUnavailable as error:
                    log.warning("the journal waits for its broker: %s", error)
                    await self._clock.sleep(FIRST_PAUSE_S)
                    continue
                if emptying.done():
                    emptying.result()
                await self._take(deliveries)
                subscription.ack(deliveries)
        finally:
            emptying.cancel()
            await asyncio.gather(emptying, return_exceptions=True)
            await subscription.close()
            await self._disconnect()

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        messages = [each.message for each in deliveries if each.message is not None]
        self.undecodable += len(deliveries) - len(messages)
        self._waiting.extend(messages)
        try:
            if self._spool is None:
                await self._forward_patiently(messages)
            elif self.spooled or not await self._forwards(messages):
                await self._keep(self._spool, messages)
        finally:
            self._waiting.clear()

    # -------------------------------------------------------------------------------------- Kafka

    async def _forward_patiently(self, messages: Sequence[Message]) -> None:
        pause_s = FIRST_PAUSE_S
        while not await self._forwards(messages):
            await self._clock.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _forwards(self, messages: Sequence[Message]) -> bool:
        """Whether Kafka confirmed them all. If not, some may be there: they are sent again."""
        try:
            async with self._sending, asyncio.timeout(CONFIRM_S):
                producer = self._producer or await self._connect()
                sent = [await self._send(producer, message) for message in messages]
                await asyncio.gather(*sent)
        except (KafkaError, OSError, TimeoutError) as error:
            if self._producer is not None or not self.outages:
                self.outages += 1
                log.warning("the journal waits for Kafka: %s", str(error) or type(error).__name__)
            await self._disconnect()
            return False
        self.forwarded += len(messages)
        return True

    async def _send(self, producer: AIOKafkaProducer, message: Message) -> Any:
        record = record_of(message, self._plan)
        value = record.value
        if len(value) > MOST_BYTES:
            log.error("event %s is too long for Kafka: its data are left out", message.id)
            value = b"{}"
        return await producer.send(
            self._address.topic,
            value,
            key=record.key,
            headers=record.headers,
            timestamp_ms=record.timestamp_ms,
        )

    async def _connect(self) -> AIOKafkaProducer:
        await make_topic(self._address)
        producer = AIOKafkaProducer(
            bootstrap_servers=self._address.brokers,
            client_id="journal",
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            request_timeout_ms=int(CONFIRM_S * 1000),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer
        return producer

    async def _disconnect(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError, TimeoutError):
                async with asyncio.timeout(CONFIRM_S):
                    await producer.stop()

    # -------------------------------------------------------------------------------------- spool

    async def _keep(self, spool: Store, messages: Sequence[Message]) -> None:
        """Durable here: the broker may forget them. Keys are event ids, which order by time."""
        bodies = {message.id: encode(message) for message in messages}
        name = self.SPOOL.name
        known = await patiently(lambda: spool.load(name, list(bodies)), self._clock, "the journal")
        writes = [Write(name, id_, 0, body) for id_, body in bodies.items() if id_ not in known]
        await patiently(lambda: spool.commit(writes), self._clock, "the journal")
        self.spooled += len(writes)

    async def _empty_spool(self) -> None:
        """Forward what was kept, the oldest first."""
        spool, name = self._spool, self.SPOOL.name
        if spool is None:
            return
        while True:
            kept = await patiently(
                lambda: spool.query(name, Query(limit=AT_ONCE)), self._clock, "the journal"
            )
            if not kept:
                self.spooled = 0
            elif await self._forwards([decode(record.body) for record in kept]):
                gone = [Write(name, each.key, each.version, None) for each in kept]
                # Not done, they are sent again: the reducers know them by their ids.
                await patiently(functools.partial(spool.commit, gone), self._clock, "the journal")
                self.spooled = max(0, self.spooled - len(gone))
                continue
            await self._clock.sleep(1.0)

    def figures(self) -> Mapping[str, tuple[str, float]]:
        """For metrics: name → what it is, and how much."""
        return {
            "journal_forwarded": ("Events that Kafka confirmed.", self.forwarded),
            "journal_undecodable": ("Deliveries that are no events.", self.undecodable),
            "journal_outages": ("Times Kafka was away.", self.outages),
            "journal_waiting": ("Events that wait for Kafka here.", self.waiting),
            "journal_lag_seconds": ("The age of the oldest of them.", self.lag_s),
        }
