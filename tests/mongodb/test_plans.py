"""Lists, timers and outboxes are found by their index, and cost the same however much is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

import pytest

from sagas.ports import Collection, Query, Write
from sagas.stores.mongodb import MongoDatabase, MongoStore
from sagas.stores.mongodb_layout import Layout
from sagas.system import SystemIds
from tests.mongodb.conftest import OpenStore, event, order
from tests.mongodb.server import own_databases

#: As the shop's services declare them.
ORDERS = Collection(
    "orders",
    ("present", "customer_id", "status", "email", "started_at"),
    (("customer_id",), ("status",), ("customer_id", "status"), ("status", "started_at")),
    unique=("email",),
)
HERE: Mapping[str, Any] = {"present": True}


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(), "_id_"),
        (Query(where=HERE, descending=True), "_id_"),
        (Query(where={**HERE, "customer_id": "c1"}), "by__customer_id"),
        (Query(where={**HERE, "status": "paid"}, after=(None, "o1")), "by__status"),
        (Query(where={"status": "paid", "customer_id": "c1"}), "by__customer_id__status"),
        (Query(where={"status": "paid"}, sort="started_at"), "by__status__started_at"),
        (Query(where={**HERE, "email": "a@b.c", "status": "paid"}), "unique__email"),
        # Left to the server: no index gives these in their order.
        (Query(where={"status": ("paid", "shipped")}), None),
        (Query(where={"customer_id": "c1"}, sort="started_at"), None),
        (Query(sort="started_at"), None),
        (Query(where={"email": None}), None),
        (Query(where={"email": ("a@b.c", "d@e.f")}), None),
    ],
)
def test_a_page_names_the_index_that_gives_it_in_its_order(query: Query, index: str | None) -> None:
    assert Layout(ORDERS).hint(query) == index


# ------------------------------------------------------------------------------------- the server


async def explained(store: MongoStore, **find: Any) -> str:
    """How the server would find this, as far as it says: all names of its plan in one text."""
    database = store._connection.database(store._name)
    return str(await database.command("explain", {"find": "orders", **find}))


async def plan(store: MongoStore, query: Query) -> str:
    layout = Layout(ORDERS)
    options = {"hint": layout.hint(query)} if layout.hint(query) else {}
    return await explained(
        store,
        filter=layout.filter(query),
        sort=dict(layout.order(query)),
        limit=query.limit,
        **options,
    )


def uses(plan: str, index: str) -> bool:
    """Whether an index is read: mongod says ``IXSCAN``, FerretDB what PostgreSQL does."""
    return f"'{index}'" in plan and ("IXSCAN" in plan or "Index Scan" in plan)


@pytest.fixture
async def orders(open_store: OpenStore) -> MongoStore:
    store = await open_store(opened=False)
    await store.open([ORDERS])
    fields = {"present": True, "customer_id": "c1", "status": "paid", "started_at": 1.0}
    await store.commit([Write("orders", f"o{n}", 0, b"{}", fields=fields) for n in range(50)])
    return store


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (Query(where={**HERE, "customer_id": "c1"}, descending=True), "by__customer_id"),
        (Query(where={**HERE, "status": "paid"}, after=(None, "o3")), "by__status"),
        (Query(where={"status": "paid"}, sort="started_at"), "by__status__started_at"),
        (Query(where={**HERE, "email": "a@b.c"}), "unique__email"),
    ],
)
async def test_the_server_reads_a_list_by_its_index(
    orders: MongoStore, query: Query, index: str
) -> None:
    assert uses(await plan(orders, query), index)


async def test_rare_records_are_found_by_an_index_of_those_alone(orders: MongoStore) -> None:
    due = {"_due": {"$exists": True, "$lte": 5.0}}
    assert uses(await explained(orders, filter=due, sort={"_due": 1, "_id": 1}, hint="due"), "due")
    waiting = {"_waits": {"$gte": ""}}
    found = await explained(orders, filter=waiting, sort={"_waits": 1}, hint="outbox")
    assert uses(found, "outbox")
    expired = {"_expires": {"$lte": 5.0}}
    found = await explained(orders, filter=expired, sort={"_expires": 1}, hint="expires")
    assert uses(found, "expires")


async def test_what_has_no_timer_and_no_event_is_in_no_such_index(store: MongoStore) -> None:
    """Otherwise they would grow with all that was ever stored."""
    await store.commit([order("o1", due=1.0, expires=2.0, outbox=(event("m1"),))])
    await store.commit([order("o1", 1)])
    await store.commit([order("o2", outbox=(event("m1"),))])
    await store.settle("orders", {"o2": frozenset({"m1"})})
    documents = store._connection.database(store._name)["orders"]
    for document in await documents.find().to_list(None):
        assert not {"_due", "_waits", "_expires", "_outbox"} & document.keys()


# --------------------------------------------------------------------------------- the cost of it


@asynccontextmanager
async def filled(count: int) -> AsyncIterator[MongoStore]:
    """So many orders, most of them delivered, a fifth of all one customer's."""
    async with own_databases("pymongo") as url:
        database = MongoDatabase(url)
        store, ids = database.store("shop"), SystemIds()
        await store.open([ORDERS])
        for start in range(0, count, 1_000):
            writes = [
                Write("orders", ids.new(), 0, bytes(1_000), fields=_fields(number))
                for number in range(start, min(start + 1_000, count))
            ]
            await store.commit(writes)
        yield store
        await database.close()


def _fields(number: int) -> dict[str, Any]:
    return {
        "present": True,
        "customer_id": "often" if number % 5 == 0 else f"c{number}",
        "status": "pending" if number % 1_000 == 0 else "delivered",
        "email": f"{number}@example.com",
        "started_at": 1e9 + number,
    }


LISTS = {
    "the newest": Query(where=HERE, descending=True),
    "one customer's": Query(where={**HERE, "customer_id": "often"}, descending=True),
    "one customer's delivered ones": Query(
        where={**HERE, "customer_id": "often", "status": "delivered"}, descending=True
    ),
    "nearly all, by status": Query(where={**HERE, "status": "delivered"}, descending=True),
    "few, by status": Query(where={**HERE, "status": "pending"}, descending=True),
    "the latest, as the tracker asks": Query(
        where={**HERE, "status": "delivered"},
        at_least={"started_at": 1.0},
        sort="started_at",
        descending=True,
    ),
    "one, by a unique value": Query(where={**HERE, "email": "7@example.com"}),
}


Ask = Callable[[MongoStore], Awaitable[object]]
#: What a page costs is the least that it ever took: whatever else the machine does only adds to it.
TRIES, MOST_TRIES = 3, 60


async def costs_the_same(small: MongoStore, large: MongoStore, name: str, ask: Ask) -> None:
    """Tried by turns until it does; what grows with what is stored never will."""
    few_ms = many_ms = inf
    for number in range(1, MOST_TRIES + 1):
        few_ms, many_ms = min(few_ms, await _ms(ask, small)), min(many_ms, await _ms(ask, large))
        if number >= TRIES and many_ms < 3 * few_ms + 10.0:
            print(f"{name}: {few_ms:.1f} ms of few, {many_ms:.1f} ms of many")
            return
    raise AssertionError(f"{name}: {few_ms:.1f} ms of few, {many_ms:.1f} ms of many")


async def _ms(ask: Ask, store: MongoStore) -> float:
    started = perf_counter()
    await ask(store)
    return (perf_counter() - started) * 1e3


async def _pages(query: Query, store: MongoStore) -> None:
    """The first page, and one that begins amid it."""
    page = await store.query("orders", query)
    middle = page[len(page) // 2]
    value = None if query.sort is None else middle.fields[query.sort]
    await store.query("orders", replace(query, after=(value, middle.key)))


async def _nothing_is_due(store: MongoStore) -> None:
    assert await store.due("orders", 2e9, 100) == []
    assert await store.pending("orders", 100) == []
    assert await store.expire("orders", 2e9, 100) == 0


async def test_lists_cost_the_same_with_many_times_as_many_orders(
    pytestconfig: pytest.Config,
) -> None:
    many = pytestconfig.getoption("orders")
    async with filled(1_000) as small, filled(many) as large:
        for name, query in LISTS.items():
            await costs_the_same(small, large, name, partial(_pages, query))
        await costs_the_same(small, large, "timers, outboxes, the expired", _nothing_is_due)
