"""A broker that does to messages whatever its contract allows: repeats them, late, in any order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from sagas.envelope import Message
from sagas.ports import Broker, Subscription

__all__ = ["UnrulyBroker"]


class UnrulyBroker:
    """Passes each message on ``copies`` times, each copy after a delay of its own (one seed)."""

    def __init__(
        self, inner: Broker, *, seed: int, copies: int = 2, longest_delay_s: float = 1.0
    ) -> None:
        self._inner = inner
        self._random = random.Random(seed)
        self._copies = copies
        self._longest_delay_s = longest_delay_s

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        await self._inner.open(queues)

    async def publish(self, messages: Sequence[Message]) -> None:
        # As another process would see it: nobody shares decoded objects over a wire.
        copies = [message.without_event() for message in messages for _ in range(self._copies)]
        await asyncio.gather(*(self._late(message) for message in copies))

    async def _late(self, message: Message) -> None:
        await asyncio.sleep(self._random.random() * self._longest_delay_s)
        await self._inner.publish([message])

    def subscribe(self, queue: str, prefetch: int) -> Subscription:
        return self._inner.subscribe(queue, prefetch)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()
