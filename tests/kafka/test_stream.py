"""A Faust worker on a real Kafka: the same answers, and what it makes of bad input."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from participants.insight import business
from sagas.envelope import Message, rfc3339, timestamp
from sagas.insight import InProcess
from sagas.insight.address import kafka_address
from sagas.insight.records import record_of
from sagas.insight.shares import Shares
from sagas.insight.states import SagaState
from sagas.insight.sums import Sums
from sagas.insight.topics import make_topic
from sagas.system import SystemClock
from sagas.tracker import SagaView, fold
from sagas.web.auth import Tokens
from tests.backends import KAFKA_URL, require
from tests.e2e.kill.process import free_ports
from tests.insight.simulated import PLAN, told
from tests.insight.test_agent import DISPATCHED, PLACED, TAKEN, event
from tests.kafka.workers import SECRET, WorkerProcess, brokers, saga_table

SAGAS = 80
#: Far more than it takes: a stream that hangs is told so.
SOON_S = 240.0


def _mixed(sagas: list[list[Message]], chance: random.Random) -> list[Message]:
    """One after the other by turns, some of them twice, and as if they happened just now."""
    turns = chance.sample([n for n, each in enumerate(sagas) for _ in each], sum(map(len, sagas)))
    left = [list(each) for each in sagas]
    by_s = time.time() - max(message.time for each in sagas for message in each) - 60
    mixed = [left[turn].pop(0) for turn in turns]
    mixed += chance.sample(mixed, len(mixed) // 10)
    return [replace(each, time=timestamp(rfc3339(each.time + by_s))) for each in mixed]


@pytest.mark.usefixtures("quiet")
async def test_a_worker_gives_the_same_answers_and_survives_what_is_no_event(
    tmp_path: Path,
) -> None:
    require(KAFKA_URL)
    topic = f"stream-{uuid4().hex[:8]}"
    url = f"kafka://{brokers()}/{topic}"
    mixed = _mixed(list(told(SAGAS)), random.Random("stream"))
    forged = event(TAKEN, 2, cause="event-1", source="/catering", time=time.time())
    views: dict[str, SagaView] = {}
    clock = SystemClock()
    here = InProcess(PLAN, business, clock)
    for message in mixed:
        saga_id = message.saga_id or ""
        views[saga_id] = fold(views.get(saga_id), message, PLAN, clock.now())
        here.saw(saga_id, views[saga_id])

    await make_topic(kafka_address(url))
    async with WorkerProcess(tmp_path, url, free_ports(1)) as worker:
        shares = Shares([worker.url], Tokens(SECRET, clock), "staff", clock)
        try:
            await _send(topic, mixed)
            embedded = await here.sums()
            streamed = await _until(shares, embedded["windows"]["1d"])
            assert streamed["standing"] == embedded["standing"]
            assert streamed["in_flight"] == embedded["in_flight"]
            assert not streamed["violations"]
            table = await _written(topic, sum(len(view.entries) for view in views.values()))
            assert table.keys() == views.keys()
            for saga_id, view in views.items():
                found = table[saga_id].view
                assert found.entries == view.entries
                assert (found.status, found.ended) == (view.status, view.ended)

            await _send_bad(topic, [event(PLACED, 1, time=forged.time - 1), forged])
            # What is bad went to more than one partition, each of which is read at its own pace.
            bad = {"undecodable": 2, "wrong_key": 1, "from_the_future": 1}
            end = time.monotonic() + SOON_S
            told_now = await shares.sums()
            while time.monotonic() < end and not _has(told_now, bad):
                await asyncio.sleep(0.2)
                told_now = await shares.sums()
            assert told_now["skipped"].keys() == bad.keys(), told_now["skipped"]
            assert _has(told_now, bad), told_now["skipped"]
            (violation,) = told_now["violations"]
            assert violation["code"] == "SAGA602"
            assert [each["type"] for each in violation["trace"]] == ["OrderPlaced"]
        finally:
            await shares.close()
        assert "SAGA602" in worker.complaints()
        assert await worker.end() == 0, worker.complaints()


def _has(sums: Sums, bad: dict[str, int]) -> bool:
    """So much at least: who is given a partition anew reads again what was not committed yet."""
    skipped = sums["skipped"]
    return bool(sums["violations"]) and all(skipped.get(name, 0) >= bad[name] for name in bad)


async def _send(topic: str, messages: list[Message], *raw: tuple[bytes, bytes | None, Any]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers()) as producer:
        for key, value, headers in raw:
            await producer.send_and_wait(topic, value, key=key, headers=headers)
        for message in messages:
            record = record_of(message, PLAN)
            await producer.send(topic, record.value, key=record.key, headers=record.headers)


async def _send_bad(topic: str, messages: list[Message]) -> None:
    """First what is no event, for every partition to get past."""
    good = record_of(messages[0], PLAN)
    future = record_of(event(DISPATCHED, 3, time=time.time() + 3_600), PLAN)
    bad = [
        (good.key, b"\xff\x00", good.headers),
        (good.key, None, good.headers),
        (b"another", good.value, good.headers),
        (future.key, future.value, future.headers),
    ]
    await _send(topic, messages, *bad)


async def _until(shares: Shares, wanted: dict[str, int]) -> Sums:
    """The sums, once the windows say what they must say in the end."""
    sums: Sums = {}
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        try:
            sums = await shares.sums()
        except Exception:
            await asyncio.sleep(0.25)
            continue
        if sums["windows"]["1d"] == wanted:
            break
        await asyncio.sleep(0.25)
    assert sums["windows"]["1d"] == wanted
    return sums


async def _written(topic: str, entries: int) -> dict[str, SagaState]:
    """The table's changelog, which is written a moment after the table."""
    table: dict[str, SagaState] = {}
    end = time.monotonic() + SOON_S
    while time.monotonic() < end:
        table = await saga_table(topic)
        if sum(len(state.view.entries) for state in table.values()) >= entries:
            break
        await asyncio.sleep(0.5)
    return table
