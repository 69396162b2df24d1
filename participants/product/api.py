"""The routes of products: everybody reads, staff write."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from contracts.api import products as api
from contracts.api.base import Page
from participants.editing import STALE, Versions, edit
from participants.product.domain import Product
from participants.product.queries import find_product, product_page, shown
from participants.product.seed import seed, seeded
from participants.product.steps import (
    ArchiveProduct,
    CreateProduct,
    ReplaceProduct,
    product,
)
from participants.service import STAFF_ONLY, Service, ServiceContext, execute
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import etag_of, not_modified
from sagas.web.operations import ANYBODY, Operation, routes_of
from sagas.web.problems import not_found

__all__ = ["SERVICE", "ProductRoutes"]

ONE = "/api/products/{sku}"
LAMP = {"sku": "LAMP-01"}
CONTENT = {
    "name": "Paper lantern",
    "description": "Folds flat.",
    "category": "lighting",
    "price": {"amount": 1500, "currency": "USD"},
}

#: Anybody's, and so for keeping: the gateway shows what it kept while this service is away.
SHARED = {"Cache-Control": "public, no-cache"}


class ProductRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner

    @Operation(
        "GET",
        "/api/products",
        "Look through the products, by SKU unless sorted otherwise",
        {200: Page[api.Product]},
        who=ANYBODY,
        query=api.ProductsQuery,
        sample={"category": "lighting", "sort": "price", "max_price": "5000"},
    )
    async def list(self, request: web.Request) -> web.Response:
        asked = read_query(request, api.ProductsQuery)
        return json_response(await product_page(self._runner, asked), headers=SHARED)

    @Operation(
        "GET",
        ONE,
        "Read a product",
        {200: api.Product},
        who=ANYBODY,
        places=LAMP,
        tagged=True,
    )
    async def get(self, request: web.Request) -> web.Response:
        found = await self._existing(request)
        answer = not_modified(request, found.version) or await self._answer(found)
        answer.headers.update(SHARED)
        return answer

    @Operation(
        "POST",
        "/api/products",
        "Add a product; its stock record follows soon, with 0 on hand",
        {201: api.Product},
        who=STAFF_ONLY,
        body=api.CreateProduct,
        once=True,
        refuses={409: ("sku_taken",)},
        examples={"a lantern": {"sku": "LANTERN-01", **CONTENT}},
    )
    async def create(self, request: web.Request) -> web.Response:
        content = await read_json(request, api.CreateProduct)
        command = CreateProduct(content=content, operation_id=operation_id(request))
        reply = await execute(request, self._runner, product.saga, content.sku, command)
        return await self._answer(reply.state, 201)

    @Operation(
        "PUT",
        ONE,
        "Replace what staff may edit of a product",
        {200: api.Product},
        who=STAFF_ONLY,
        body=api.ReplaceProduct,
        if_match="required",
        refuses={409: ("product_archived",)},
        places={"sku": "LANTERN-01"},
        examples={
            "a lower price": {**CONTENT, "price": {"amount": 1200, "currency": "USD"}},
        },
    )
    async def replace(self, request: web.Request) -> web.Response:
        content = await read_json(request, api.ReplaceProduct)

        sku = (await self._existing(request)).sku

        def replacing(expected: Versions) -> ReplaceProduct:
            return ReplaceProduct(content=content, expected=expected)

        state = await edit(request, self._runner, product.saga, sku, replacing, required=True)
        return await self._answer(state)

    @Operation(
        "DELETE",
        ONE,
        "Archive a product: it stays readable and cannot be ordered any more",
        {204: None},
        who=STAFF_ONLY,
        if_match="optional",
        places={"sku": "LANTERN-01"},
    )
    async def archive(self, request: web.Request) -> web.Response:
        found = await self._existing(request)
        if found.active:
            await edit(
                *(request, self._runner, product.saga, found.sku),
                lambda expected: ArchiveProduct(expected=expected),
            )
        # Else the repeat of a DELETE whose answer was lost: its tag is rightly stale.
        return web.Response(status=204)

    async def _existing(self, request: web.Request) -> Product:
        found = await find_product(self._runner, request.match_info["sku"])
        if found is None:
            raise not_found("There is no such product.")
        return found

    async def _answer(self, state: Product, status: int = 200) -> web.Response:
        (resource,) = await shown(self._runner, state)
        headers = {"ETag": etag_of(state.version)}
        if status == 201:
            headers["Location"] = f"/api/products/{state.sku}"
        return json_response(resource, status, headers)


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_of(ProductRoutes(context), once=context.idempotent)


SERVICE = Service(
    name="product",
    port=1,
    participant=product,
    routes=routes,
    seed=seed,
    seeded=seeded,
    statuses={"not_found": 404, STALE.code: 412},
)
