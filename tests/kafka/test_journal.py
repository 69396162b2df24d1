"""The journal on a real Kafka: what is confirmed, what waits while it is away, what comes after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer

from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import Message
from sagas.insight.address import JOURNAL_QUEUE, KafkaAddress
from sagas.insight.journal import Journal
from sagas.system import SystemClock
from sagas.testing.memory import MemoryDatabase
from tests.backends import KAFKA_URL, require
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


def _events(count: int) -> list[Message]:
    return [event(PLACED, number) for number in range(1, count + 1)]


async def test_an_event_is_acked_once_kafka_has_it(topic: str) -> None:
    broker = await opened()
    journal = Journal(broker, KafkaAddress(brokers(), topic, 4), PLAN, SystemClock())
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


async def test_nothing_is_acked_while_kafka_is_away_and_then_it_catches_up(
    topic: str, door: _Door
) -> None:
    broker = await opened()
    door.shut()
    address = KafkaAddress(f"127.0.0.1:{door.port}", topic, 4)
    async with running(Journal(broker, address, PLAN, SystemClock())) as journal:
        publishing = asyncio.create_task(broker.publish(_events(20)))
        await until(lambda: journal.outages > 0)
        assert not publishing.done()
        assert journal.waiting > 0
        assert journal.lag_s > 0
        await door.open()
        async with asyncio.timeout(SOON_S):
            await publishing
        assert (journal.waiting, journal.lag_s) == (0, 0.0)
    await broker.close()
    assert len(await records(topic, 20)) >= 20


async def test_whoever_publishes_in_this_process_is_not_held_up_and_nothing_is_lost_by_a_crash(
    topic: str, door: _Door
) -> None:
    broker, spool = await opened(), MemoryDatabase().store("journal")
    door.shut()
    address = KafkaAddress(f"127.0.0.1:{door.port}", topic, 4)
    async with running(Journal(broker, address, PLAN, SystemClock(), spool=spool)) as journal:
        async with asyncio.timeout(SOON_S):
            await broker.publish(_events(40))  # acked, since they are stored
        assert journal.waiting == 40
    await broker.close()
    await door.open()
    another = Journal(await opened(), address, PLAN, SystemClock(), spool=spool)
    async with running(another):
        await until(lambda: another.forwarded >= 40)
        found = await records(topic, 40)
    assert {headers["ce_id"] for _, _, headers in found} == {
        f"event-{number}".encode() for number in range(1, 41)
    }
