"""The journal on a real Kafka: what is confirmed, what waits while it is away, what comes after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from participants.settings import JOURNAL_PORT
from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import Message
from sagas.insight.address import JOURNAL_QUEUE, KafkaAddress
from sagas.insight.journal import Journal
from sagas.insight.records import MOST_BYTES
from sagas.ports import Broker, Store
from sagas.system import SystemClock
from sagas.testing.memory import MemoryDatabase
from tests.backends import KAFKA_URL, require
from tests.e2e.conftest import open_shop
from tests.insight.simulated import PLAN
from tests.insight.test_agent import PLACED, SAGA, event
from tests.kafka.workers import brokers

SOON_S = 60.0


@pytest.fixture
def topic() -> str:
    require(KAFKA_URL)
    return f"journal-{uuid4().hex[:8]}"


class _Door:
    """A way to Kafka that can be shut: whoever was never let in does not find it."""

    def __init__(self) -> None:
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._pass, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def shut(self) -> None:
        assert self._server is not None
        self._server.close()

    async def close(self) -> None:
        self.shut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        host, port = brokers().split(":")
        there, back = await asyncio.open_connection(host, int(port))
        try:
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.close()
            writer.close()
            self._tasks.discard(task)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65_536):
        sink.write(data)
        await sink.drain()
    sink.close()


@pytest.fixture
async def door() -> AsyncIterator[_Door]:
    door = _Door()
    await door.open()
    yield door
    await door.close()


@asynccontextmanager
async def running(journal: Journal) -> AsyncIterator[Journal]:
    task = asyncio.create_task(journal.run())
    try:
        yield journal
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def opened() -> EmbeddedBroker:
    broker = EmbeddedBroker()
    await broker.open(JOURNAL_QUEUE)
    return broker


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not true():  # noqa: ASYNC110 - what it does is seen from outside alone
            await asyncio.sleep(0.02)


async def records(topic: str, count: int) -> list[tuple[bytes, bytes, dict[str, bytes]]]:
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=brokers(), auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    found = []
    try:
        async with asyncio.timeout(SOON_S):
            while len(found) < count:
                for batch in (await consumer.getmany(timeout_ms=500)).values():
                    found += [(each.key, each.value, dict(each.headers)) for each in batch]
    finally:
        await consumer.stop()
    return found


def _journal(broker: Broker, address: KafkaAddress, spool: Store | None = None) -> Journal:
    spool = MemoryDatabase().store("journal") if spool is None else spool
    return Journal(broker, address, PLAN, SystemClock(), spool=spool)


def _events(count: int) -> list[Message]:
    """Their ids follow each other, as those of UUIDv7 do."""
    return [event(PLACED, number, id=f"event-{number:04}") for number in range(1, count + 1)]


async def test_an_event_is_acked_once_kafka_has_it(topic: str) -> None:
    broker = await opened()
    journal = _journal(broker, KafkaAddress(brokers(), topic, 4))
    async with running(journal), asyncio.timeout(SOON_S):
        await broker.publish(_events(3))  # returns when the journal has acked
        assert journal.forwarded == 3
    await broker.close()
    ((key, value, headers), *_) = await records(topic, 3)
    assert key == SAGA.encode()
    assert b"tok_secret" not in value
    assert headers["content-type"] == b"application/json"
    assert (headers["ce_specversion"], headers["ce_type"]) == (b"1.0", b"OrderPlaced")
    assert headers["ce_correlationid"] == SAGA.encode()


async def test_while_kafka_is_away_nobody_is_held_up_and_then_it_catches_up(
    topic: str, door: _Door
) -> None:
    broker, spool = await opened(), MemoryDatabase().store("journal")
    door.shut()
    address = KafkaAddress(f"127.0.0.1:{door.port}", topic, 4)
    async with running(_journal(broker, address, spool)) as journal:
        async with asyncio.timeout(SOON_S):
            await broker.publish(_events(20))  # acked, since they are stored
        assert journal.outages == 1
        assert journal.waiting == 20
        assert journal.lag_s > 0
        await door.open()
        await until(lambda: journal.waiting == 0)
        assert journal.lag_s == 0
        async with asyncio.timeout(SOON_S):
            await broker.publish([event(PLACED, 21)])
        await until(lambda: journal.waiting == 0)
    await broker.close()
    assert len(await records(topic, 21)) == 21


async def test_what_was_stored_before_a_crash_goes_before_what_comes_after_it(
    topic: str, door: _Door
) -> None:
    """Else, after a long outage, it would come too late for the windows."""
    broker, spool = await opened(), MemoryDatabase().store("journal")
    door.shut()
    address = KafkaAddress(f"127.0.0.1:{door.port}", topic, 4)
    async with running(_journal(broker, address, spool)), asyncio.timeout(SOON_S):
        await broker.publish(_events(600))  # more than goes at once
    await broker.close()

    broker = await opened()
    async with running(_journal(broker, address, spool)) as another:
        async with asyncio.timeout(SOON_S):
            await broker.publish([event(PLACED, 1_001)])
        await until(lambda: another.waiting > 500)
        assert another.lag_s > 0
        await door.open()
        found = await records(topic, 601)
    await broker.close()
    ids = [headers["ce_id"] for _, _, headers in found]
    assert ids[-1] == b"event-1001"
    assert len(set(ids)) == 601


async def test_orders_are_placed_and_end_while_kafka_is_away_and_the_stream_hears_of_them_later(
    topic: str, door: _Door, tmp_path: Path
) -> None:
    door.shut()
    nowhere = "http://127.0.0.1:1"
    url = f"kafka://127.0.0.1:{door.port}/{topic}"
    async with open_shop(
        tmp_path, carrier_step_s=0.05, journal_url=url, insight_urls=nowhere
    ) as shop:
        order_id = await shop.placed()
        saga = await shop.ended(order_id)
        assert saga["status"] == "completed"
        address = f"http://127.0.0.1:{shop.settings.port_base + JOURNAL_PORT}"
        metrics = (await shop.anonymous("GET", f"{address}/metrics")).raw.decode()
        assert _figure(metrics, "journal_forwarded") == 0
        waiting = _figure(metrics, "journal_waiting")
        assert waiting >= 7  # the events of an order that arrives
        assert _figure(metrics, "journal_lag_seconds") > 0
        ready = await shop.anonymous("GET", f"{address}/health/ready")
        assert (ready.status, ready.body["status"]) == (200, "degraded")

        await door.open()
        journal = shop.shop.journal
        assert journal is not None
        await until(lambda: journal.journal.waiting == 0)
        metrics = (await shop.anonymous("GET", f"{address}/metrics")).raw.decode()
        assert _figure(metrics, "journal_forwarded") >= waiting
        assert _figure(metrics, "journal_lag_seconds") == 0
    found = await records(topic, int(waiting))
    types = {headers["ce_type"] for key, _, headers in found if key == order_id.encode()}
    assert {b"OrderPlaced", b"ParcelDelivered"} < types


def _figure(metrics: str, name: str) -> float:
    (line,) = [each for each in metrics.splitlines() if each.startswith(f"{name} ")]
    return float(line.split()[-1])


async def test_events_that_are_too_long_for_a_worker_go_without_their_data(topic: str) -> None:
    broker = await opened()
    long = PLACED.model_copy(update={"customer_id": "x" * MOST_BYTES})
    async with (
        running(_journal(broker, KafkaAddress(brokers(), topic, 4))),
        asyncio.timeout(SOON_S),
    ):
        await broker.publish([event(long, 1), event(PLACED, 2)])
    await broker.close()
    (_, first, headers), (_, second, _) = await records(topic, 2)
    assert (first, headers["ce_id"]) == (b"{}", b"event-1")
    assert b"LAMP-01" in second
