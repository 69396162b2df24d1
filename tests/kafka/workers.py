"""Faust workers in processes of their own, which tests may kill and start again."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import orjson
from aiokafka import AIOKafkaConsumer

from participants.settings import WORKER_PORT
from sagas.insight.states import SagaState
from tests.backends import KAFKA_URL

__all__ = ["SECRET", "WorkerProcess", "brokers", "saga_table"]

ROOT = Path(__file__).parents[2]
SECRET = "a secret of the tests, thirty-two characters long"
ENDED_WITHIN_S = 60.0


def brokers() -> str:
    return urlsplit(KAFKA_URL).netloc


class WorkerProcess:
    """``python -m participants.stream``, life after life."""

    def __init__(self, folder: Path, journal_url: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.errors = folder / f"worker-{port}.log"
        self._environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
        self._environment |= {
            "SHOP_DATA_DIR": str(folder / f"worker-{port}"),
            "SHOP_JOURNAL_URL": journal_url,
            "SHOP_JWT_SECRET": SECRET,
            "SHOP_PORT_BASE": str(port - WORKER_PORT),
        }
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "participants.stream"),
                cwd=ROOT,
                env=self._environment,
                stdout=errors,
                stderr=errors,
            )

    async def kill(self) -> None:
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(ENDED_WITHIN_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    def complaints(self) -> str:
        return self.errors.read_text() if self.errors.exists() else ""

    async def __aenter__(self) -> WorkerProcess:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def saga_table(topic: str) -> dict[str, SagaState]:
    """The table keyed by saga, as its changelog has it: what any worker would recover."""
    changelog = f"{topic}-insight-sagas-changelog"
    consumer = AIOKafkaConsumer(
        changelog, bootstrap_servers=brokers(), auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        places = sorted(consumer.assignment(), key=lambda place: place.partition)
        ends = await consumer.end_offsets(places)
        found: dict[str, SagaState] = {}
        for place in places:
            while await consumer.position(place) < ends[place]:
                batches = await consumer.getmany(place, timeout_ms=1_000)
                for record in batches.get(place, ()):
                    saga_id = orjson.loads(record.key)
                    if record.value is None:
                        found.pop(saga_id, None)
                    else:
                        found[saga_id] = SagaState.from_bytes(record.value)
        return found
    finally:
        await consumer.stop()
