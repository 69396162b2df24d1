"""Every list of the API, asked for over HTTP, is given in its order by an index of MongoDB's.

What the shop asks its stores is overheard and explained by the server: no list is written down here
a second time.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sagas.ports import Query, Record
from sagas.stores.mongodb import MongoStore
from tests.e2e.conftest import Caller, open_shop
from tests.mongodb.plans import plan, uses
from tests.mongodb.server import own_databases

FOR_STAFF = [
    "/api/orders",
    "/api/orders?status=delivered",
    "/api/products",
    "/api/products?category=lighting",
    "/api/products?sort=name",
    "/api/products?sort=price&min_price=100",
    "/api/products?sort=-price&category=lighting&max_price=100000",
    "/api/products?q=lamp",
    "/api/inventory",
    "/api/payments",
    "/api/shipping",
    "/api/customers",
    "/api/sagas",
    "/api/sagas?status=completed",
    "/api/sagas?stuck=true",
    "/api/sagas?status=running&stuck=false",
    "/api/dead-letters",
    "/api/dead-letters?status=open",
    "/api/dead-letters?participant=order",
    "/api/dead-letters?cause=permanent&status=open",
]
FOR_CUSTOMERS = [
    "/api/orders",
    "/api/orders?status=delivered",
    "/api/payments",
    "/api/shipping",
]


async def test_every_list_is_given_in_its_order_by_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[MongoStore, str, Query]] = []
    query = MongoStore.query

    async def overheard(store: MongoStore, collection: str, page: Query) -> list[Record]:
        asked.append((store, collection, page))
        return await query(store, collection, page)

    async with (
        own_databases() as url,
        open_shop(tmp_path, carrier_step_s=0.05, store_url=url) as shop,
    ):
        tracker = shop.shop.tracker
        assert tracker is not None
        order_id = await shop.placed()
        await shop.ended(order_id)
        monkeypatch.setattr(MongoStore, "query", overheard)
        by_order = [f"/api/{kind}?order_id={order_id}" for kind in ("payments", "shipping")]
        await _read_all(shop.staff, *FOR_STAFF, *by_order)
        await _read_all(shop.customer, *FOR_CUSTOMERS, *by_order)
        await tracker.tracker.find_sagas({"owner": shop.customer.id})
        monkeypatch.undo()
        assert len(asked) >= len(FOR_STAFF) + len(FOR_CUSTOMERS) + 5
        for store, collection, page in asked:
            hint = store._collections[collection].layout.hint(page)
            assert hint is not None, f"no index gives {collection} as {page} wants it"
            explained = await plan(store, collection, page)
            assert uses(explained, hint), f"{collection} as {page} wants it: {explained}"


async def _read_all(caller: Caller, *paths: str) -> None:
    for path in paths:
        answer = await caller("GET", path)
        assert answer.status == 200, (path, answer.raw)
