"""What the servers hold, read past the shop and past its engine: plain documents, plain queues."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aio_pika
import orjson
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase

from tests.e2e.kill.books import OVERDUE_S, TROUBLE, Charges, charge_of

__all__ = ["PREFIX", "charges_in_mongodb", "left_in_mongodb", "left_in_rabbitmq", "trouble_in"]

#: Begins the names of the shop's databases.
PREFIX = "chaos"
#: Their bodies are answers to clients and events of others, no documents of the engine.
FOREIGN = frozenset({"idempotency", "sent_events"})
SHOWN = 5
READ_WITHIN_MS = 30_000

Client = AsyncMongoClient[dict[str, Any]]


async def left_in_mongodb(url: str) -> list[str]:
    """What a shop at rest must not have: events to publish, overdue timers, strays."""
    found: list[str] = []
    async with AsyncMongoClient(url, timeoutMS=READ_WITHIN_MS) as client:
        async for database in _databases(client):
            for name in await database.list_collection_names():
                conditions: dict[str, dict[str, Any]] = {
                    "has events in its outbox": {"_outbox": {"$exists": True}},
                    "has a timer overdue": {"_due": {"$lt": time.time() - OVERDUE_S}},
                }
                if name == "strays":
                    conditions["is a stray"] = {}
                for text, condition in conditions.items():
                    rows = database[name].find(condition, {"_id": True}).limit(SHOWN)
                    found += [f"{database.name}/{name}/{row['_id']} {text}" async for row in rows]
    return found


async def trouble_in(url: str) -> list[str]:
    """The documents in which the engine keeps trouble: retries, held messages, dead letters, a
    person's attention. Reads every document there is."""
    found: list[str] = []
    async with AsyncMongoClient(url, timeoutMS=READ_WITHIN_MS) as client:
        async for database in _databases(client):
            for name in set(await database.list_collection_names()) - FOREIGN:
                async for row in database[name].find({}, {"_body": True}):
                    body = orjson.loads(row["_body"])
                    found += [
                        f"{database.name}/{name}/{row['_id']} has {mark}"
                        for mark in TROUBLE
                        if mark in body
                    ]
    return found


async def charges_in_mongodb(url: str) -> Charges:
    """The provider's own ledger."""
    async with AsyncMongoClient(url, timeoutMS=READ_WITHIN_MS) as client:
        rows = client[f"{PREFIX}_payment"]["charges"].find({}, {"_body": True})
        return {row["_id"]: charge_of(row["_body"]) async for row in rows}


async def _databases(client: Client) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    for name in await client.list_database_names():
        if name.startswith(f"{PREFIX}_"):
            yield client[name]


async def left_in_rabbitmq(url: str, queues: list[str]) -> list[str]:
    """The queues in which messages lie. Those that a consumer holds unacked are not counted."""
    found: list[str] = []
    connection = await aio_pika.connect(url)
    async with connection, connection.channel() as channel:
        for name in queues:
            queue = await channel.declare_queue(name, passive=True)
            if count := queue.declaration_result.message_count:
                found.append(f"queue {name} has {count} messages")
    return found
