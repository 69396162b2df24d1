"""What has to be there on the server: an exchange, a queue per participant, and a net below them.

    NAMESPACE.events   topic exchange; routing key: the event's type
    NAMESPACE.PARTICIPANT   quorum queue, bound to just what the participant hears
    NAMESPACE.dead     where a queue puts what it has delivered too often (exchange and queue)
    NAMESPACE.lost     what fell from a queue that is no longer there (queue)

Everything is durable, and declared by every process before it publishes or consumes: the server
notices only an event that reaches no queue at all, never that one of its queues is not there yet.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from typing import Any

from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractExchange
from aio_pika.exceptions import ChannelPreconditionFailed

from sagas.errors import SettingError

__all__ = ["DELIVERY_LIMIT", "MAX_LENGTH", "Topology"]

#: Deliveries of one message before the server gives it up. Crashes count, and take everything with
#: them that was unacked: well above what any series of crashes reaches.
DELIVERY_LIMIT = 1_000
#: Messages in one queue before the server refuses more; they wait in their producers' outboxes.
MAX_LENGTH = 1_000_000

_DIFFERENCE = re.compile(
    r"inequivalent arg '(?P<what>[^']+)' for (?P<kind>\w+) '(?P<name>[^']+)' .*?: "
    r"received (?:the value )?(?P<wanted>.+?) but current is (?:the value )?(?P<found>.+)"
)


class Topology:
    """The names and declarations of one namespace. Topics only ever add up, as on the server."""

    def __init__(self, namespace: str, *, delivery_limit: int, max_length: int) -> None:
        self._namespace = namespace
        self._topics: dict[str, set[str]] = {}
        self._arguments: dict[str, Any] = {
            "x-queue-type": "quorum",
            "x-delivery-limit": delivery_limit,
            "x-max-length": max_length,
            # Not drop-head: what does not fit stays with its producer. Together they also make the
            # net sure: a message leaves its queue only when the net has confirmed it.
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
            "x-dead-letter-exchange": self.dead,
        }

    @property
    def exchange(self) -> str:
        return f"{self._namespace}.events"

    @property
    def dead(self) -> str:
        return f"{self._namespace}.dead"

    @property
    def lost(self) -> str:
        return f"{self._namespace}.lost"

    def queue(self, name: str) -> str:
        """The server's name of a participant's queue. ``ValueError`` for one not declared."""
        if name not in self._topics:
            raise ValueError(f"queue {name!r} is not declared: pass it to open() first")
        return f"{self._namespace}.{name}"

    def add(self, queues: Mapping[str, Iterable[str]]) -> None:
        for name, topics in queues.items():
            if name in ("dead", "lost"):
                raise ValueError(f"no queue may be called {name!r}: that is a name of the net's")
            for topic in topics:
                if topic != "*" and re.search(r"[*#]", topic):
                    raise ValueError(f"topic {topic!r} of queue {name!r} contains a wildcard")
            self._topics.setdefault(name, set()).update(topics)

    def is_heard(self, topic: str) -> bool:
        """Whether some queue should have got it."""
        return any(not topics.isdisjoint((topic, "*")) for topics in self._topics.values())

    async def declare(self, connection: AbstractConnection) -> None:
        """Make what is missing, verify what is there. Raises ``SettingError`` when it differs."""
        channel = connection.channel()
        try:
            await channel.initialize()
            exchange = await channel.declare_exchange(self.exchange, "topic", durable=True)
            await self._declare_net(channel)
            for name in list(self._topics):
                await self._declare_queue(channel, name, exchange)
        except ChannelPreconditionFailed as error:
            raise SettingError(_difference(str(error))) from error
        finally:
            if not channel.is_closed:
                await asyncio.shield(channel.close())

    async def _declare_queue(
        self, channel: AbstractChannel, name: str, exchange: AbstractExchange
    ) -> None:
        queue = await channel.declare_queue(
            self.queue(name), durable=True, arguments=self._arguments
        )
        for topic in sorted(self._topics[name]):
            await queue.bind(exchange, "#" if topic == "*" else topic)

    async def _declare_net(self, channel: AbstractChannel) -> None:
        dead = await channel.declare_exchange(self.dead, "fanout", durable=True)
        # Nothing lies below them: never give up. (From RabbitMQ 4 on the default limit is 20.)
        patient: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000_000}
        net = await channel.declare_queue(self.dead, durable=True, arguments=patient)
        await net.bind(dead)
        await channel.declare_queue(self.lost, durable=True, arguments=patient)


def _difference(said: str) -> str:
    """The server's complaint about what is declared otherwise, as one clear sentence."""
    found = _DIFFERENCE.search(said)
    if found is None:
        return f"RabbitMQ refuses the declaration: {said}"
    wanted, there = (
        re.sub(r" of type '\w+'$", "", found[part]).strip("'") for part in ("wanted", "found")
    )
    kind = found["kind"]
    return (
        f"RabbitMQ has {kind} {found['name']!r} already, with {found['what']} {there} where "
        f"{wanted} is wanted: set it so, or delete the {kind} once it is empty, or use another "
        f"namespace"
    )
