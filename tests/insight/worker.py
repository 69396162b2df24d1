"""A Faust worker without a server: its agent in a test context, and a Kafka that confirms."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from participants.choreography import shop
from participants.insight import business
from sagas.envelope import Message
from sagas.insight.partition import Partition
from sagas.insight.records import record_of
from sagas.insight.states import SagaState
from sagas.insight.stream import Insight, StreamSettings
from sagas.insight.topics import partition_of
from tests.insight.simulated import PLAN

__all__ = ["PARTITIONS", "Worker", "working"]

PARTITIONS = 4


class Worker:
    """Puts records where a broker would: by the key's hash, each at the next place."""

    def __init__(self, insight: Insight, agent: Any) -> None:
        self.insight = insight
        self.now = 0.0
        self.heard = 0
        self._agent = agent
        self._places: Counter[int] = Counter()

    async def tell(self, message: Message) -> None:
        """As the journal would send it."""
        record = record_of(message, PLAN)
        await self.put(record.key, record.value, record.headers)

    async def put(
        self,
        key: bytes | None,
        value: bytes | None,
        headers: Any = (),
        *,
        partition: int | None = None,
        place: int | None = None,
    ) -> None:
        """Any record; it is processed when this returns."""
        number = partition_of(key or b"", PARTITIONS) if partition is None else partition
        if place is None:
            place = self._places[number]
            self._places[number] += 1
        record = self.record(key, value, headers, number, place)
        agent = self._agent
        channel = agent.stream().channel
        await channel.put(await channel.decode(record))
        self.heard += 1
        async with agent.new_value_processed:
            await agent.new_value_processed.wait_for(lambda: agent.processed_offset >= self.heard)
        await asyncio.sleep(0)  # noticed on its way to the agent, who is next

    def record(
        self, key: bytes | None, value: bytes | None, headers: Any, number: int, place: int
    ) -> Any:
        """As a consumer hands it on."""
        return self._agent.to_message(key, value, partition=number, offset=place, headers=headers)

    @property
    def partitions(self) -> dict[int, Partition]:
        return {number: self.insight._partition(number) for number in range(PARTITIONS)}

    def states(self) -> dict[str, SagaState]:
        """The table keyed by saga."""
        return {key: SagaState.from_bytes(raw) for key, raw in self.insight._sagas.data.items()}


@asynccontextmanager
async def working() -> AsyncIterator[Worker]:
    settings = StreamSettings("127.0.0.1:1", "sagas", PARTITIONS)
    worker: Worker | None = None
    insight = Insight(
        settings, shop, PLAN, business, now=lambda: 0.0 if worker is None else worker.now
    )
    confirming = asyncio.create_task(_confirm(insight))
    try:
        async with insight.agent.test_context() as agent:
            worker = Worker(insight, agent)
            yield worker
    finally:
        # Made for a consumer that is never started, which nobody else closes therefore.
        insight.app.consumer._thread.thread_loop.close()
        confirming.cancel()
        await asyncio.gather(confirming, return_exceptions=True)


async def _confirm(insight: Insight) -> None:
    """Kafka takes every change; nobody acknowledges, since nothing was consumed from it."""
    while True:
        future = await insight.app.producer.buffer.pending.get()
        if not future.done():
            future.set_result(None)
        insight._unconfirmed.clear()
        insight._room.set()
