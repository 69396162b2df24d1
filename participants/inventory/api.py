"""The routes of stock."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from aiohttp import web

from contracts.api import inventory as api
from contracts.api.base import Page
from participants.demo import DEMO_PRODUCTS
from participants.inventory.domain import StockItem
from participants.inventory.ledger import (
    AdjustStock,
    SeedStock,
    StockLedger,
    StoredLedger,
    stock,
)
from participants.inventory.reconciliation import reconcile
from participants.inventory.steps import inventory
from participants.service import STAFF_ONLY, Service, ServiceContext, execute, list_page
from participants.settings import ShopSettings
from sagas import Runner
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import etag_of, not_modified
from sagas.web.health import Degraded
from sagas.web.operations import Operation, routes_of
from sagas.web.problems import not_found

__all__ = ["SERVICE", "InventoryRoutes"]

LAMP = {"sku": "LAMP-01"}


def stock_resource(item: StockItem) -> api.Stock:
    return api.Stock(
        sku=item.sku,
        on_hand=item.on_hand,
        reserved=item.reserved,
        available=item.available,
        version=item.changes,
    )


class InventoryRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner

    @Operation(
        "GET",
        "/api/inventory",
        "Look through the stock, by SKU",
        {200: Page[api.Stock]},
        who=STAFF_ONLY,
        query=api.StocksQuery,
        sample={"limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, api.StocksQuery)
        found = await list_page(
            self._runner,
            stock,
            stock_resource,
            limit=query.limit,
            cursor=query.cursor,
            newest_first=False,
        )
        return json_response(found)

    @Operation(
        "GET",
        "/api/inventory/{sku}",
        "Read what there is of a product",
        {200: api.Stock},
        who=STAFF_ONLY,
        places=LAMP,
        tagged=True,
    )
    async def get(self, request: web.Request) -> web.Response:
        item = await self._runner.get(stock, request.match_info["sku"])
        if not isinstance(item, StockItem):
            raise not_found("There is no such SKU.")
        unchanged = not_modified(request, item.changes)
        headers = {"ETag": etag_of(item.changes)}
        return unchanged or json_response(stock_resource(item), headers=headers)

    @Operation(
        "POST",
        "/api/inventory/{sku}/adjustments",
        "Record goods that came or went",
        {200: api.Stock},
        who=STAFF_ONLY,
        body=api.AdjustStock,
        once=True,
        refuses={409: ("insufficient_stock",)},
        places=LAMP,
        examples={
            "a delivery": {"delta": 12, "reason": "delivery 4711"},
            "breakage": {"delta": -1, "reason": "dropped"},
        },
    )
    async def adjust(self, request: web.Request) -> web.Response:
        wanted = await read_json(request, api.AdjustStock)
        command = AdjustStock(operation=operation_id(request), delta=wanted.delta)
        reply = await execute(request, self._runner, stock, request.match_info["sku"], command)
        headers = {"ETag": etag_of(reply.state.changes)}
        return json_response(stock_resource(reply.state), headers=headers)


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_of(InventoryRoutes(context), once=context.idempotent)


def resources(runner: Runner, settings: ShopSettings) -> Mapping[type, object]:
    return {StockLedger: StoredLedger(runner)}


async def _seed(context: ServiceContext) -> None:
    await asyncio.gather(
        *(
            context.runner.execute(stock, product.sku, SeedStock(on_hand=product.on_hand))
            for product in DEMO_PRODUCTS
        )
    )


async def _seeded(context: ServiceContext) -> None:
    skus = [product.sku for product in DEMO_PRODUCTS]
    found = await context.runner.cached(stock, skus, 1.0)
    missing = [sku for sku in skus if sku not in found or not found[sku].seeded]
    if missing:
        raise Degraded(f"{len(missing)} seeded products have no stock yet")


SERVICE = Service(
    name="inventory",
    port=5,
    participant=inventory,
    routes=routes,
    resources=resources,
    seed=_seed,
    seeded=_seeded,
    upkeep=reconcile,
    statuses={"not_found": 404},
)
