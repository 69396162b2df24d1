"""What MongoDB and RabbitMQ hold, read past the shop and past its engine: plain documents and plain
queues."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import orjson
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from yarl import URL

from tests.e2e.kill.books import OVERDUE_S, TROUBLE, Charges, charge_of

__all__ = ["Documents", "Queues"]

#: Their bodies are answers to clients and events of others, no documents of the engine.
FOREIGN = frozenset({"idempotency", "sent_events"})
BATCH = "application/cloudevents-batch+json"
SHOWN = 5
READ_WITHIN_MS = 30_000

Collection = AsyncCollection[dict[str, Any]]


class Documents:
    """The databases of a shop with this store URL."""

    def __init__(self, store_url: str) -> None:
        url = URL(store_url)
        self._server = str(url.origin())
        self._prefix = url.path.removeprefix("/")

    async def left(self) -> list[str]:
        """What a shop at rest must not have: events to publish, overdue timers, strays."""
        found: list[str] = []
        async with self._collections() as collections:
            async for documents in collections:
                conditions: dict[str, dict[str, Any]] = {
                    "has events in its outbox": {"_outbox": {"$exists": True}},
                    "has a timer overdue": {"_due": {"$lt": time.time() - OVERDUE_S}},
                }
                if documents.name == "strays":
                    conditions["is a stray"] = {}
                for text, condition in conditions.items():
                    rows = documents.find(condition, {"_id": True}).limit(SHOWN)
                    found += [f"{documents.full_name}/{row['_id']} {text}" async for row in rows]
        return found

    async def trouble(self) -> list[str]:
        """The documents in which the engine keeps trouble: retries, held messages, dead letters, a
        person's attention. Reads every document there is."""
        found: list[str] = []
        async with self._collections() as collections:
            async for documents in collections:
                if documents.name in FOREIGN:
                    continue
                async for row in documents.find({}, {"_body": True}):
                    marks = [mark for mark in TROUBLE if mark in orjson.loads(row["_body"])]
                    found += [f"{documents.full_name}/{row['_id']} has {mark}" for mark in marks]
        return found

    async def charges(self) -> Charges:
        """The payment provider's own ledger."""
        async with self._client() as client:
            rows = client[f"{self._prefix}_payment"]["charges"].find({}, {"_body": True})
            return {row["_id"]: charge_of(row["_body"]) async for row in rows}

    @asynccontextmanager
    async def _collections(self) -> AsyncIterator[AsyncIterator[Collection]]:
        async with self._client() as client:

            async def all_there_are() -> AsyncIterator[Collection]:
                for name in await client.list_database_names():
                    if name.startswith(f"{self._prefix}_"):
                        for each in await client[name].list_collection_names():
                            yield client[name][each]

            yield all_there_are()

    def _client(self) -> AsyncMongoClient[dict[str, Any]]:
        return AsyncMongoClient(self._server, timeoutMS=READ_WITHIN_MS)


class Queues:
    """The queues of a shop with this broker URL."""

    def __init__(self, broker_url: str | URL, participants: Iterable[str]) -> None:
        self._url = URL(broker_url)
        self._namespace = self._url.query["namespace"]
        self._names = [f"{self._namespace}.{name}" for name in (*participants, "dead", "lost")]

    async def left(self) -> list[str]:
        """The queues in which messages lie. What a consumer holds unacked is not counted: while
        there are none, it lies there again."""
        found: list[str] = []
        connection = await aio_pika.connect(self._url.with_query(None))
        async with connection, connection.channel() as channel:
            for name in self._names:
                queue = await channel.declare_queue(name, passive=True)
                if count := queue.declaration_result.message_count:
                    found.append(f"queue {name} has {count} messages")
        return found

    async def consumers(self, participant: str) -> int:
        """How many consume from a participant's queue, as far as the server knows."""
        connection = await aio_pika.connect(self._url.with_query(None))
        async with connection, connection.channel() as channel:
            name = f"{self._namespace}.{participant}"
            queue = await channel.declare_queue(name, passive=True)
            return queue.declaration_result.consumer_count or 0

    async def events(self, participant: str) -> dict[str, bool]:
        """The ids of the events that lie in a participant's queue, and whether somebody had them
        already and gave them back; they stay there."""
        found: dict[str, bool] = {}
        connection = await aio_pika.connect(self._url.with_query(None))
        async with connection, connection.channel() as channel:
            queue = await channel.get_queue(f"{self._namespace}.{participant}")
            # Unacked until the channel is closed: then all of them go back.
            while (message := await queue.get(fail=False)) is not None:
                if message.content_type == BATCH:
                    ids = [event["id"] for event in orjson.loads(message.body)]
                else:
                    ids = [str(message.headers["cloudEvents:id"])]
                found |= dict.fromkeys(ids, bool(message.redelivered))
        return found
