"""A namespace of one's own on the RabbitMQ server, gone again after the test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import aio_pika
from yarl import URL

from tests.backends import AMQP_URL, require

__all__ = ["connected", "own_namespace"]


@asynccontextmanager
async def connected() -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A channel of somebody else's on the server: to look, to meddle, to be another client."""
    connection = await aio_pika.connect(require(AMQP_URL))
    async with connection, connection.channel() as channel:
        yield channel


@asynccontextmanager
async def own_namespace(queues: Iterable[str]) -> AsyncIterator[URL]:
    """A broker URL with a namespace that nobody else has; ``queues`` are those made in it."""
    name = f"test-{secrets.token_hex(6)}"
    try:
        yield URL(require(AMQP_URL)).update_query(namespace=name)
    finally:
        async with connected() as channel:
            raw = await channel.get_underlay_channel()
            for queue in (*queues, "dead", "lost"):
                await raw.queue_delete(f"{name}.{queue}")
            for exchange in ("events", "dead"):
                await raw.exchange_delete(f"{name}.{exchange}")
