"""The journal: a subscriber that forwards every event to Kafka.

It acknowledges a delivery only after Kafka confirmed the record. Kafka away: events are stored in a
collection of the journal's own instead, then acknowledged. A queue that fills up would hold up
whoever publishes, so orders go on, however long it takes; and afterwards the journal catches up, in
the old order. After a crash some events are sent again, with the same ids.
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
from sagas.insight.records import MOST_BYTES, record_of
from sagas.insight.topics import make_topic
from sagas.outages import patiently
from sagas.ports import Broker, Clock, Collection, Delivery, Query, Record, Store, Write
from sagas.tracker import Plan

__all__ = ["Journal"]

log = logging.getLogger(__name__)

PREFETCH: Final = 1_000
AT_ONCE: Final = 500
#: How long Kafka may take to confirm before the connection is made anew.
CONFIRM_S: Final = 10.0
FIRST_PAUSE_S: Final = 0.1
#: How often it is looked whether what is stored can go.
EMPTY_EVERY_S: Final = 1.0


class Journal:
    """Forwards what ``broker`` delivers. ``run`` until it is cancelled; it survives any outage.

    ``spool`` is where events wait while Kafka is away.
    """

    SPOOL: Final = Collection("journal")

    def __init__(
        self,
        broker: Broker,
        address: KafkaAddress,
        plan: Plan,
        clock: Clock,
        *,
        spool: Store,
    ) -> None:
        self._broker = broker
        self._address = address
        self._plan = plan
        self._clock = clock
        self._spool = spool
        self._producer: AIOKafkaProducer | None = None
        self._sending, self._storing = asyncio.Lock(), asyncio.Lock()
        self._waiting: deque[Message] = deque()
        #: Events that Kafka confirmed, deliveries that are no events, and times it was away.
        self.forwarded = 0
        self.undecodable = 0
        self.outages = 0
        #: How many are stored, as far as counted since the start, and the time of the first one.
        self._spooled = 0
        self._spooled_since: float | None = None
        #: Nothing is stored: nobody goes past those that wait, nor after a crash those from before.
        self._is_empty = False

    @property
    def lag_s(self) -> float:
        """The age of the oldest event that waits for Kafka; 0 when none does."""
        moments = [self._waiting[0].time] if self._waiting else []
        if self._spooled and self._spooled_since is not None:
            moments.append(self._spooled_since)
        return max(0.0, self._clock.now() - min(moments)) if moments else 0.0

    @property
    def waiting(self) -> int:
        """Events that were delivered here and are not confirmed."""
        return len(self._waiting) + self._spooled

    async def ping(self) -> None:
        """Raise ``BrokerUnavailable`` while Kafka is away."""
        if self._producer is None:
            raise BrokerUnavailable(f"Kafka at {self._address.brokers} does not answer")

    async def run(self) -> None:
        """Forward for ever."""
        await patiently(lambda: self._spool.open([self.SPOOL]), self._clock, JOURNAL)
        await self._kept()
        tasks = [asyncio.create_task(each) for each in (self._listen(), self._empty_spool())]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._disconnect()

    async def _listen(self) -> None:
        subscription = self._broker.subscribe(JOURNAL, PREFETCH)
        try:
            while True:
                try:
                    deliveries = await subscription.next(AT_ONCE)
                except BrokerUnavailable as error:
                    log.warning("the journal waits for its broker: %s", error)
                    await self._clock.sleep(FIRST_PAUSE_S)
                    continue
                await self._take(deliveries)
                subscription.ack(deliveries)
        finally:
            await subscription.close()

    async def _take(self, deliveries: Sequence[Delivery]) -> None:
        messages = [each.message for each in deliveries if each.message is not None]
        self.undecodable += len(deliveries) - len(messages)
        self._waiting.extend(messages)
        try:
            if not self._is_empty or not await self._forwards(messages):
                await self._keep(messages)
        finally:
            self._waiting.clear()

    # -------------------------------------------------------------------------------------- Kafka

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

    async def _keep(self, messages: Sequence[Message]) -> None:
        """Durable here: the broker may forget them. Keys are event ids, which order by time."""
        bodies = {message.id: encode(message) for message in messages}
        name, spool = self.SPOOL.name, self._spool
        async with self._storing:
            known = await patiently(lambda: spool.load(name, list(bodies)), self._clock, JOURNAL)
            writes = [Write(name, id_, 0, body) for id_, body in bodies.items() if id_ not in known]
            await patiently(lambda: spool.commit(writes), self._clock, JOURNAL)
            self._is_empty = False
            self._spooled += len(writes)
            if self._spooled_since is None and messages:
                self._spooled_since = messages[0].time

    async def _empty_spool(self) -> None:
        """Forward what was kept, the oldest first."""
        while True:
            kept = await self._kept()
            if kept and await self._forwards([decode(record.body) for record in kept]):
                gone = [Write(self.SPOOL.name, each.key, each.version, None) for each in kept]
                # Not done, they are sent again: the reducers know them by their ids.
                remove = functools.partial(self._spool.commit, gone)
                await patiently(remove, self._clock, JOURNAL)
                self._spooled = max(0, self._spooled - len(gone))
                continue
            await self._clock.sleep(EMPTY_EVERY_S)

    async def _kept(self) -> list[Record]:
        """The oldest of what is stored."""
        name, spool = self.SPOOL.name, self._spool
        async with self._storing:
            query = Query(limit=AT_ONCE)
            kept = await patiently(lambda: spool.query(name, query), self._clock, JOURNAL)
            self._is_empty = not kept
            self._spooled = max(self._spooled, len(kept)) if kept else 0
            self._spooled_since = decode(kept[0].body).time if kept else None
            return kept

    def figures(self) -> Mapping[str, tuple[str, float]]:
        """For metrics: name → what it is, and how much."""
        return {
            "journal_forwarded": ("Events that Kafka confirmed.", self.forwarded),
            "journal_undecodable": ("Deliveries that are no events.", self.undecodable),
            "journal_outages": ("Times Kafka was away.", self.outages),
            "journal_waiting": ("Events that wait for Kafka here.", self.waiting),
            "journal_lag_seconds": ("The age of the oldest of them.", self.lag_s),
        }
