"""How many events a second one worker and two take from Kafka, and how long a killed one is missed.

make services ONLY=kafka; python -m bench.insight --sagas 2000
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from aiokafka import AIOKafkaProducer

from sagas.envelope import Message
from sagas.insight.address import kafka_address
from sagas.insight.records import record_of
from sagas.insight.shares import Shares
from sagas.insight.topics import make_topic
from sagas.system import SystemClock
from sagas.web.auth import Tokens
from sagas.web.problems import Problem
from tests.e2e.kill.process import free_ports
from tests.insight.simulated import PLAN, told
from tests.kafka.workers import SECRET, WorkerProcess, brokers, saga_table

SIMULATED = 200
LIMIT_S = 300.0


def _events(sagas: int) -> list[Message]:
    """Simulated sagas, each as often as it takes, under ids of their own, in a mixed order."""
    simulated = list(told(SIMULATED))
    by_s = time.time() - 600 - max(each.time for saga in simulated for each in saga)
    found = []
    for number in range(sagas):
        for event in simulated[number % SIMULATED]:
            prefix = f"{number}-"
            cause = event.causation_id
            found.append(
                replace(
                    event,
                    id=prefix + event.id,
                    saga_id=prefix + (event.saga_id or ""),
                    causation_id=None if cause is None else prefix + cause,
                    time=event.time + by_s,
                )
            )
    chance = random.Random("bench")
    # A few hundred under way at once, each in its order.
    return [each for _, each in sorted(enumerate(found), key=lambda p: p[0] + chance.random() * 99)]


async def _send(topic: str, events: list[Message]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=brokers(), linger_ms=5) as producer:
        for event in events:
            record = record_of(event, PLAN)
            await producer.send(topic, record.value, key=record.key, headers=record.headers)


async def _counted(shares: Shares) -> int:
    try:
        sums = await shares.sums()
    except Problem:
        return -1
    return int(sums["windows"]["1d"].get("events", 0)) if sums["as_of"] > time.time() - 1 else -1


async def _until(shares: Shares, least: int) -> float:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        if await _counted(shares) >= least:
            return time.monotonic()
        await asyncio.sleep(0.1)
    raise TimeoutError(f"{least} events were not counted within {LIMIT_S:g} s")


async def _measure(events: list[Message], count: int, folder: Path) -> None:
    topic = f"bench-{uuid4().hex[:8]}"
    url = f"kafka://{brokers()}/{topic}"
    await make_topic(kafka_address(url))
    port = free_ports(2)
    workers = [WorkerProcess(folder, url, port + number) for number in range(count)]
    clock = SystemClock()
    shares = Shares([each.url for each in workers], Tokens(SECRET, clock), "staff", clock)
    try:
        for worker in workers:
            await worker.start()
        await _until(shares, 0)
        began = time.monotonic()
        await _send(topic, events)
        sent = time.monotonic()
        ended = await _until(shares, len(events))
        print(
            f"{count} worker(s): {len(events)} events in {ended - began:.1f} s, "
            f"{len(events) / (ended - began):.0f} a second (sent within {sent - began:.1f} s)"
        )
        await workers[0].kill()
        killed = time.monotonic()
        if count == 1:
            await workers[0].start()
        await shares.close()
        # Another one, which has no answer from before.
        shares = Shares([each.url for each in workers], Tokens(SECRET, clock), "staff", clock)
        back = await _until(shares, len(events))
        print(f"  killed: all partitions are answered for again after {back - killed:.1f} s")
        table = await saga_table(topic)
        sizes = [len(state.to_bytes()) for state in table.values()]
        print(f"  a saga's state: {sum(sizes) / len(sizes):.0f} bytes, at most {max(sizes)}")
    finally:
        await shares.close()
        for worker in workers:
            await worker.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.insight", description=__doc__)
    parser.add_argument("--sagas", type=int, default=2_000)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    events = _events(options.sagas)
    for count in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(_measure(events, count, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
