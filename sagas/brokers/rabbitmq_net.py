"""The net: what the server has given up goes back to its participant, to be kept and not tried.

A message that kills its consumer is delivered again and again, until the queue's delivery limit
drops it into NAMESPACE.dead. Whichever process is there takes it from there and puts it back into
the queue that it fell from, marked. The participant then stores it as a dead letter like any other:
it is listed with the others, holds back its own saga alone, and can be replayed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aio_pika import DeliveryMode
from aio_pika import Message as Envelope
from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_consumer import Consumer
from sagas.brokers.rabbitmq_events import GIVEN_UP
from sagas.brokers.rabbitmq_link import Link
from sagas.errors import BrokerUnavailable

__all__ = ["Net"]

log = logging.getLogger(__name__)

PREFETCH = 20
AGAIN_AFTER_S = 5.0

Put = Callable[[str, Envelope], Awaitable[bool]]


class Net:
    """Consumes ``queue``, where the others drop what they give up; ``put`` puts into one queue."""

    def __init__(
        self, link: Link, queue: str, put: Put, deleted: Callable[[], Awaitable[None]]
    ) -> None:
        self._queue = queue
        self._put = put
        self._under_way: set[asyncio.Task[None]] = set()
        self._consumer = Consumer(
            link, queue, PREFETCH, arrived=self._arrived, lost=self._lost, deleted=deleted
        )

    async def close(self) -> None:
        self._lost("closed")
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._consumer.close()

    def _arrived(self, message: DeliveredMessage) -> None:
        task = asyncio.create_task(self._put_back(message), name=f"empties {self._queue}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _lost(self, why: str) -> None:
        for task in self._under_way:
            task.cancel()

    async def _put_back(self, message: DeliveredMessage) -> None:
        headers: Mapping[str, Any] = message.header.properties.headers or {}
        origin = str(headers.get("x-first-death-queue", ""))
        reason = str(headers.get("x-first-death-reason", "for no reason that it tells"))
        log.error("a message of %s was given up (%s): it becomes a dead letter", origin, reason)
        marked = Envelope(
            message.body,
            content_type=message.header.properties.content_type,
            headers={
                **{name: value for name, value in headers.items() if not name.startswith("x-")},
                GIVEN_UP: f"the broker gave it up ({reason}): whoever took it died or rejected it "
                f"too often; replay it once that is mended",
            },
            delivery_mode=DeliveryMode.PERSISTENT,
        )
        while True:
            try:
                found = await self._put(origin, marked)
                break
            except BrokerUnavailable as error:
                log.warning("it waits in %s: %s", self._queue, error)
                await asyncio.sleep(AGAIN_AFTER_S)
        if found:
            assert message.delivery_tag is not None
            self._consumer.settle(message.channel, message.delivery_tag, acked=True)
        else:
            # Held, unacked, until this process ends: somebody has to say what is to become of it.
            log.error("it stays in %s: there is no queue %r any more", self._queue, origin)
