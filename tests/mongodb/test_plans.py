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

from participants.choreography import shop as choreography
from participants.customer.steps import customer
from participants.order.steps import order
from participants.product.steps import product
from participants.shipping.steps import shipping
from sagas.ports import Collection, Query, Write
from sagas.stores.mongodb import MongoDatabase, MongoStore
from sagas.stores.mongodb_layout import Layout
from sagas.system import SystemIds
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from sagas.tracker.plan import plan_of
from tests.mongodb.conftest import OpenStore, event
from tests.mongodb.conftest import order as changed
from tests.mongodb.plans import explained, uses
from tests.mongodb.server import own_databases

PLAN = plan_of(choreography)
#: As the shop declares them: what is tried here is what runs.
ORDERS = order.saga.collection
CUSTOMERS = customer.saga.collection
PRODUCTS = product.saga.collection
PARCELS = shipping.saga.collection
SAGAS = tracker_of(PLAN).saga.collection
DEAD_LETTERS = dead_letters_of(PLAN.redaction).saga.collection
HERE: Mapping[str, Any] = {"present": True}
ACTIVE: Mapping[str, Any] = {**HERE, "active": True}


@pytest.mark.parametrize(
    ("collection", "query", "index"),
    [
        (ORDERS, Query(), "_id_"),
        (ORDERS, Query(where=HERE, descending=True), "_id_"),
        (ORDERS, Query(where={**HERE, "customer_id": "c1"}), "by__customer_id"),
        (ORDERS, Query(where={**HERE, "status": "paid"}, after=(None, "o1")), "by__status"),
        (
            ORDERS,
            Query(where={"status": "paid", "customer_id": "c1"}),
            "by__customer_id__status",
        ),
        (SAGAS, Query(sort="started_at"), "by__started_at"),
        (SAGAS, Query(where={"status": "paid"}, sort="started_at"), "by__status__started_at"),
        (SAGAS, Query(where={"owner": "c1"}, sort="started_at"), "by__owner__started_at"),
        (DEAD_LETTERS, Query(sort="occurred_at"), "by__occurred_at"),
        (DEAD_LETTERS, Query(where={"cause": "spent"}, sort="occurred_at"), "by__occurred_at"),
        (PRODUCTS, Query(where=ACTIVE), "by__present__active"),
        (PRODUCTS, Query(where=ACTIVE, sort="name"), "by__present__active__name"),
        (
            PRODUCTS,
            Query(where={**ACTIVE, "category": "x"}, sort="price", at_least={"price": 5}),
            "by__present__active__price",
        ),
        (CUSTOMERS, Query(where={**HERE, "email": "a@b.c", "deleted": False}), "unique__email"),
        (PARCELS, Query(where={"tracking_number": "T1"}), "by__tracking_number"),
        # Left to the server: no index gives these in their order.
        (ORDERS, Query(where={"status": ("paid", "shipped")}), None),
        (DEAD_LETTERS, Query(sort="cause"), None),
        (CUSTOMERS, Query(where={"email": None}), None),
        (CUSTOMERS, Query(where={"email": ("a@b.c", "d@e.f")}), None),
    ],
)
def test_a_page_names_the_index_that_gives_it_in_its_order(
    collection: Collection, query: Query, index: str | None
) -> None:
    assert Layout(collection).hint(query) == index


# ------------------------------------------------------------------------------------- the server


@pytest.fixture
async def orders(open_store: OpenStore) -> MongoStore:
    store = await open_store(opened=False)
    await store.open([ORDERS])
    fields = {"present": True, "customer_id": "c1", "status": "paid"}
    await store.commit([Write("orders", f"o{n}", 0, b"{}", fields=fields) for n in range(50)])
    return store


async def test_rare_records_are_found_by_an_index_of_those_alone(orders: MongoStore) -> None:
    due = {"_due": {"$exists": True, "$lte": 5.0}}
    found = await explained(orders, "orders", filter=due, sort={"_due": 1, "_id": 1}, hint="due")
    assert uses(found, "due")
    waiting = {"_waits": {"$gte": ""}}
    found = await explained(orders, "orders", filter=waiting, sort={"_waits": 1}, hint="outbox")
    assert uses(found, "outbox")
    expired = {"_expires": {"$lte": 5.0}}
    found = await explained(orders, "orders", filter=expired, sort={"_expires": 1}, hint="expires")
    assert uses(found, "expires")


async def test_what_has_no_timer_and_no_event_is_in_no_such_index(store: MongoStore) -> None:
    """Otherwise they would grow with all that was ever stored."""
    await store.commit([changed("o1", due=1.0, expires=2.0, outbox=(event("m1"),))])
    await store.commit([changed("o1", 1)])
    await store.commit([changed("o2", outbox=(event("m1"),))])
    await store.settle("orders", {"o2": frozenset({"m1"})})
    documents = store._connection.database(store._name)["orders"]
    for document in await documents.find().to_list(None):
        assert not {"_due", "_waits", "_expires", "_outbox"} & document.keys()


# --------------------------------------------------------------------------------- the cost of it


@asynccontextmanager
async def filled(count: int) -> AsyncIterator[MongoStore]:
    """So many orders, most of them delivered, a fifth of all one customer's; of sagas and of
    customers a tenth, since it takes long to fill in."""
    async with own_databases("pymongo") as url:
        database = MongoDatabase(url)
        store, ids = database.store("shop"), SystemIds()
        await store.open([ORDERS, SAGAS, CUSTOMERS])
        for collection, many in ((ORDERS, count), (SAGAS, count // 10), (CUSTOMERS, count // 10)):
            for start in range(0, many, 1_000):
                writes = [
                    Write(
                        collection.name, ids.new(), 0, bytes(1_000), fields=_fields(collection, n)
                    )
                    for n in range(start, min(start + 1_000, many))
                ]
                await store.commit(writes)
        yield store
        await database.close()


def _fields(collection: Collection, number: int) -> dict[str, Any]:
    who = "often" if number % 5 == 0 else f"c{number}"
    fields = {
        "present": True,
        "customer_id": who,
        "owner": who,
        "status": "pending" if number % 1_000 == 0 else "delivered",
        "email": f"{number}@example.com",
        "started_at": 1e9 + number,
    }
    return {name: fields[name] for name in fields if name in collection.fields}


LISTS = {
    "the newest": (ORDERS, Query(where=HERE, descending=True)),
    "one customer's": (ORDERS, Query(where={**HERE, "customer_id": "often"}, descending=True)),
    "one customer's delivered ones": (
        ORDERS,
        Query(where={**HERE, "customer_id": "often", "status": "delivered"}, descending=True),
    ),
    "nearly all, by status": (
        ORDERS,
        Query(where={**HERE, "status": "delivered"}, descending=True),
    ),
    "few, by status": (ORDERS, Query(where={**HERE, "status": "pending"}, descending=True)),
    "the latest, as the tracker asks": (
        SAGAS,
        Query(
            where={**HERE, "status": "delivered"},
            at_least={"started_at": 1.0},
            sort="started_at",
            descending=True,
        ),
    ),
    "the latest of one owner": (
        SAGAS,
        Query(
            where={**HERE, "owner": "often"},
            at_least={"started_at": 1.0},
            sort="started_at",
            descending=True,
        ),
    ),
    "one, by a unique value": (CUSTOMERS, Query(where={**HERE, "email": "7@example.com"})),
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


async def _pages(collection: str, query: Query, store: MongoStore) -> None:
    """The first page, and one that begins amid it."""
    page = await store.query(collection, query)
    middle = page[len(page) // 2]
    value = None if query.sort is None else middle.fields[query.sort]
    await store.query(collection, replace(query, after=(value, middle.key)))


async def _nothing_is_due(store: MongoStore) -> None:
    assert await store.due("orders", 2e9, 100) == []
    assert await store.pending("orders", 100) == []
    assert await store.expire("orders", 2e9, 100) == 0


async def test_lists_cost_the_same_with_many_times_as_many_orders(
    pytestconfig: pytest.Config,
) -> None:
    many = pytestconfig.getoption("orders")
    async with filled(1_000) as small, filled(many) as large:
        for what, (collection, query) in LISTS.items():
            await costs_the_same(small, large, what, partial(_pages, collection.name, query))
        await costs_the_same(small, large, "timers, outboxes, the expired", _nothing_is_due)
