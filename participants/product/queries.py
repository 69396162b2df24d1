"""Reading the catalogue: one product, or a page of those that can be ordered."""

from __future__ import annotations

from typing import Any

from contracts.api import products as api
from participants.product.domain import Product
from participants.product.steps import availability, product
from sagas import Query, Runner
from sagas.ports import Scalar
from sagas.web.pages import after_record, decode_cursor, page

__all__ = ["find_product", "product_page", "shown"]

#: ``available`` follows inventory at a distance anyway; this only bounds what memory adds.
AVAILABLE_AGE_S = 1.0


async def find_product(runner: Runner, sku: str) -> Product | None:
    """The product as it is stored, archived or not."""
    found = await runner.get(product.saga, sku)
    return found if isinstance(found, Product) else None


async def shown(runner: Runner, *products: Product) -> list[api.Product]:
    """What clients see: each product joined with what can be ordered of it, by one read."""
    skus = [each.sku for each in products]
    levels = await runner.cached(availability, skus, AVAILABLE_AGE_S)
    return [
        api.Product(
            sku=each.sku,
            name=each.name,
            description=each.description,
            category=each.category,
            price=each.price,
            available=levels[each.sku].available if each.sku in levels else 0,
            active=each.active,
            version=each.version,
        )
        for each in products
    ]


async def product_page(runner: Runner, asked: api.ProductsQuery) -> dict[str, Any]:
    """A page of the active products. A cursor belongs to the order that it was made for."""
    sort = None if asked.sort is None else asked.sort.removeprefix("-")
    order = asked.sort or ""
    where: dict[str, Scalar] = {"active": True}
    if asked.category is not None:
        where["category"] = asked.category
    query = Query(
        where=where,
        at_least={} if asked.min_price is None else {"price": asked.min_price},
        at_most={} if asked.max_price is None else {"price": asked.max_price},
        contains={} if asked.q is None else {"search": asked.q.casefold()},
        sort=sort,
        descending=order.startswith("-"),
        after=decode_cursor(asked.cursor, order),
        limit=asked.limit + 1,
    )
    found = await runner.find(product.saga, query)
    resources = await shown(runner, *(state for _, state in found[: asked.limit]))
    by_sku = {resource.sku: resource for resource in resources}
    place = after_record(sort)
    return page(
        found,
        asked.limit,
        lambda pair: place(pair[0]),
        lambda pair: by_sku[pair[1].sku],
        order,
    )
