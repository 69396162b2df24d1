"""The net: what the server has given up goes back to its participant, to be kept and not tried.

A message that kills its consumer is delivered again and again, until the queue's delivery limit
drops it into NAMESPACE.dead. Whichever process is there takes it from there and puts it back into
the queue that it fell from, marked. The participant then stores it as a dead letter like any other:
it is listed with the others, holds back its own saga alone, and can be replayed. What fell from a
queue that is no longer there is put aside, into NAMESPACE.lost, so that it is in nobody's way.
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
from sagas.brokers.rabbitmq_events import GIVEN_UP, PREFIXES
from sagas.brokers.rabbitmq_frames import UNREADABLE
from sagas.brokers.rabbitmq_link import Link
from sagas.brokers.rabbitmq_topology import Topology
from sagas.errors import BrokerUnavailable

__all__ = ["Net"]

log = logging.getLogger(__name__)

PREFETCH = 20
AGAIN_AFTER_S = 5.0
ORIGIN = "x-first-death-queue"
#: A queue's name on the server has at most so many.
MAX_NAME_BYTES = 255

Put = Callable[[str, Envelope], Awaitable[bool]]


class Net:
    """Consumes where the others drop what they give up; ``put`` puts into one queue, and says
    whether it is there; ``declare`` declares all queues of this process's choreography again.
    """

    def __init__(
        self, link: Link, topology: Topology, put: Put, declare: Callable[[], Awaitable[None]]
    ) -> None:
        self._queue = topology.dead
        self._aside = topology.lost
        self._put = put
        self._declare = declare
        self._under_way: set[asyncio.Task[None]] = set()
        self._consumer = Consumer(
            link, self._queue, PREFETCH, arrived=self._arrived, lost=self._lost, deleted=declare
        )

    async def close(self) -> None:
        self._lost("closed")
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._consumer.close()

    def _arrived(self, message: DeliveredMessage) -> None:
        task = asyncio.create_task(self._empty(message), name=f"empties {self._queue}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    def _lost(self, why: str) -> None:
        for task in self._under_way:
            task.cancel()

    async def _empty(self, message: DeliveredMessage) -> None:
        """Put a message where it belongs, however long that takes."""
        headers: Mapping[str, Any] = message.header.properties.headers or {}
        origin = str(headers.get(ORIGIN, ""))
        reason = str(headers.get("x-first-death-reason", "for no reason that it tells"))
        marked = _marked(message, headers, reason)
        while True:
            try:
                await self._put_back(origin, reason, marked)
                break
            except BrokerUnavailable as error:
                log.warning("it waits in %s: %s", self._queue, error)
            except Exception:
                log.exception("it waits in %s, since it cannot be put anywhere", self._queue)
            await asyncio.sleep(AGAIN_AFTER_S)
        assert message.delivery_tag is not None
        self._consumer.settle(message.channel, message.delivery_tag, acked=True)

    async def _put_back(self, origin: str, reason: str, marked: Envelope) -> None:
        if 0 < len(origin.encode()) <= MAX_NAME_BYTES:
            if await self._put(origin, marked):
                log.error("a message of %s was given up (%s): a dead letter now", origin, reason)
                return
            await self._declare()  # somebody may have deleted it a moment ago
            if await self._put(origin, marked):
                return
        log.error("there is no queue %r any more: its message lies in %s", origin, self._aside)
        marked.headers[ORIGIN] = origin
        if not await self._put(self._aside, marked):
            await self._declare()
            raise BrokerUnavailable(f"there was no queue {self._aside}")


def _marked(message: DeliveredMessage, headers: Mapping[str, Any], reason: str) -> Envelope:
    """The same message, to be kept and not tried. Of foreign headers it has what is read of them:
    others need not even be such as can be sent."""
    return Envelope(
        message.body,
        content_type=message.header.properties.content_type,
        headers={
            **{
                name: value
                for name, value in headers.items()
                if name.startswith((*PREFIXES, UNREADABLE)) and isinstance(value, str | int | float)
            },
            GIVEN_UP: f"the broker gave it up ({reason[:100]}): whoever took it died or rejected "
            f"it too often; replay it once that is mended",
        },
        delivery_mode=DeliveryMode.PERSISTENT,
    )
