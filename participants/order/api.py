"""The order service: its routes, put together."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from participants.demo import DEMO_PRODUCTS
from participants.editing import STALE
from participants.order.cart_api import CartRoutes
from participants.order.order_api import OrderRoutes
from participants.order.projections import catalogue
from participants.order.steps import order
from participants.service import (
    Service,
    ServiceContext,
)
from sagas.web.health import Degraded
from sagas.web.operations import routes_of

__all__ = ["SERVICE"]


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return [
        *routes_of(OrderRoutes(context), once=context.idempotent),
        *routes_of(CartRoutes(context), once=context.idempotent),
    ]


async def _seeded(context: ServiceContext) -> None:
    skus = [product.sku for product in DEMO_PRODUCTS]
    missing = set(skus) - set(await context.runner.cached(catalogue, skus, 1.0))
    if missing:
        raise Degraded(f"{len(missing)} seeded products cannot be ordered yet")


SERVICE = Service(
    name="order",
    port=2,
    participant=order,
    routes=routes,
    seeded=_seeded,
    statuses={
        "not_found": 404,
        STALE.code: 412,
        "cart_empty": 422,
        "cart_full": 422,
    },
)
