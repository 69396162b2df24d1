"""A client that knows nothing of us joins by AMQP 0-9-1 and CloudEvents alone: plain aiormq."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiormq
import pytest
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from yarl import URL

from tests.backends import AMQP_URL
from tests.rabbitmq.world import Trips, open_trips, until


@pytest.fixture
async def trips(url: URL) -> AsyncIterator[Trips]:
    async with open_trips(url) as opened:
        yield opened


@pytest.fixture
async def channel(trips: Trips) -> AsyncIterator[AbstractChannel]:
    async with aiormq.connect(AMQP_URL) as connection:
        yield await connection.channel()


async def test_another_language_hears_an_event_in_binary_mode(
    trips: Trips, channel: AbstractChannel
) -> None:
    queue = await channel.queue_declare(exclusive=True)
    await channel.queue_bind(queue.queue or "", f"{trips.name}.events", routing_key="RoomBooked")
    heard: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    await channel.basic_consume(queue.queue or "", heard.put, no_ack=True)
    await trips.start("t1", flight="ok")
    async with asyncio.timeout(60):
        message = await heard.get()
    properties = message.header.properties
    assert properties.content_type == "application/json"
    assert properties.delivery_mode == 2
    told = properties.headers or {}
    assert {name: told[f"cloudEvents:{name}"] for name in ("specversion", "type", "source")} == {
        "specversion": "1.0",
        "type": "RoomBooked",
        "source": "/hotel",
    }
    assert told["cloudEvents:correlationid"] == "t1"
    assert json.loads(message.body) == {"flight": "ok"}


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
async def test_another_language_tells_an_event(
    trips: Trips, channel: AbstractChannel, prefix: str
) -> None:
    """It stands in for the hotel's guest: what it says starts the hotel's step, once."""
    told = {
        "specversion": "1.0",
        "id": "from-elsewhere-1",
        "source": "/elsewhere",
        "type": "TripStarted",
        "time": "2026-01-01T00:00:00Z",
        "correlationid": "t9",
    }
    for _ in range(2):  # a repeat is absorbed
        await channel.basic_publish(
            json.dumps({"flight": "ok", "room": "ok"}).encode(),
            exchange=f"{trips.name}.events",
            routing_key="TripStarted",
            properties=Basic.Properties(
                content_type="application/json",
                delivery_mode=2,
                headers={prefix + name: value for name, value in told.items()},
            ),
        )
    await until(lambda: trips.harness.state("airline", "t9"), lambda state: state is not None)
    assert trips.harness.types("t9").count("RoomBooked") == 1


async def test_another_language_hears_a_batch(trips: Trips, channel: AbstractChannel) -> None:
    queue = await channel.queue_declare(exclusive=True)
    await channel.queue_bind(queue.queue or "", f"{trips.name}.events", routing_key="TripStarted")
    heard: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
    await channel.basic_consume(queue.queue or "", heard.put, no_ack=True)
    await asyncio.gather(*(trips.start(f"t{n}") for n in range(20)))
    sagas: set[str] = set()
    kinds: set[str | None] = set()
    async with asyncio.timeout(60):
        while len(sagas) < 20:
            message = await heard.get()
            kind = message.header.properties.content_type
            kinds.add(kind)
            if kind == "application/cloudevents-batch+json":
                sagas |= {event["correlationid"] for event in json.loads(message.body)}
            else:
                headers = message.header.properties.headers or {}
                sagas.add(str(headers["cloudEvents:correlationid"]))
    assert "application/cloudevents-batch+json" in kinds
