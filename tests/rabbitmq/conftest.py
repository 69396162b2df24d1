"""Each test has a namespace of its own on the server, and a proxy before it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from yarl import URL

from sagas.brokers.rabbitmq import RabbitBroker
from sagas.envelope import Message
from tests.rabbitmq.proxy import Proxy, open_proxy
from tests.rabbitmq.server import own_namespace

QUEUES = {"hotel": ["TripStarted", "FlightRefused"], "airline": ["RoomBooked"], "tracker": ["*"]}


@pytest.fixture
async def url() -> AsyncIterator[URL]:
    """A broker URL; the queues that may be made in its namespace are those of ``QUEUES``."""
    async with own_namespace([*QUEUES, "trip", "dead-letters"]) as mine:
        yield mine


@pytest.fixture
async def proxy(url: URL) -> AsyncIterator[Proxy]:
    async with open_proxy(url) as opened:
        yield opened


@pytest.fixture
async def brokers() -> AsyncIterator[Callable[..., RabbitBroker]]:
    """Makes brokers that are closed after the test, and gone by then or not."""
    made: list[RabbitBroker] = []

    def make(url: URL, **query: Any) -> RabbitBroker:
        made.append(RabbitBroker(str(url.update_query(query))))
        return made[-1]

    yield make
    for broker in made:
        await broker.close()


def event(id: str, type: str = "TripStarted", **more: Any) -> Message:
    told = {"source": "/trip", "subject": "t1", "saga_id": "t1", "time": 1.5, **more}
    return Message(id=id, type=type, **told)
