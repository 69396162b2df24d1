"""Each test has databases of its own on the server, and a proxy before it, with both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from sagas.envelope import Message
from sagas.ports import Collection, Record, Write
from sagas.stores.mongodb import MongoDatabase, MongoStore
from tests.mongodb.proxy import Proxy, open_proxy
from tests.mongodb.server import DRIVERS, own_databases

ORDERS = Collection("orders", ("status", "total"), (("status",), ("status", "total")), ("total",))

OpenStore = Callable[..., Awaitable[MongoStore]]


@pytest.fixture(params=DRIVERS)
async def url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A store URL under which there is nothing yet, once per driver."""
    async with own_databases(request.param) as mine:
        yield mine


@pytest.fixture
async def proxy(url: str) -> AsyncIterator[Proxy]:
    async with open_proxy(url) as opened:
        yield opened


@pytest.fixture
async def open_store(url: str) -> AsyncIterator[OpenStore]:
    """Opens stores as processes of their own would, which let go after the test."""
    made: list[MongoDatabase] = []

    async def open_one(
        through: str | None = None, *, opened: bool = True, **options: object
    ) -> MongoStore:
        more = "".join(f"&{name}={value}" for name, value in options.items())
        made.append(MongoDatabase((through or url) + more))
        store = made[-1].store("shop")
        if opened:
            await store.open([ORDERS])
        return store

    yield open_one
    for database in made:
        await database.close()


@pytest.fixture
async def store(open_store: OpenStore) -> MongoStore:
    return await open_store()


def event(id: str) -> Message:
    return Message(id=id, type="OrderPlaced", source="o", subject="o", saga_id="s", time=0.0)


def order(key: str, expected: int = 0, body: bytes | None = b"{}", **rest: object) -> Write:
    return Write("orders", key, expected, body, **rest)  # type: ignore[arg-type]


async def stored(store: MongoStore, key: str) -> Record:
    return (await store.load("orders", [key]))[key]
