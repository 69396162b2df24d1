"""The demo catalogue, put in place once."""

from __future__ import annotations

from contextlib import suppress

from contracts.api.products import CreateProduct as Content
from participants.demo import DEMO_PRODUCTS, DemoProduct
from participants.product.queries import find_product
from participants.product.steps import CreateProduct, availability, product
from participants.service import ServiceContext
from sagas import CommandRefused
from sagas.web.health import Degraded

__all__ = ["seed", "seeded"]

#: All seeds are one operation, so that two at once create each product once.
OPERATION = "demo-seed"


async def seed(context: ServiceContext) -> None:
    """Create the demo products that do not exist; what staff made of the others stays."""
    if context.settings.seed != "demo":
        return
    for each in DEMO_PRODUCTS:
        if await find_product(context.runner, each.sku) is None:
            await _create(context, each)


async def _create(context: ServiceContext, each: DemoProduct) -> None:
    content = Content(
        sku=each.sku,
        name=each.name,
        description=each.description,
        category=each.category,
        price=each.price,
    )
    command = CreateProduct(content=content, operation_id=OPERATION)
    with suppress(CommandRefused):  # staff created this SKU a moment ago: it exists, as it should
        await context.runner.execute(product.saga, each.sku, command)


async def seeded(context: ServiceContext) -> None:
    """Every demo product is there, and inventory has said what there is of it."""
    if context.settings.seed != "demo":
        return
    skus = [each.sku for each in DEMO_PRODUCTS]
    levels = await context.runner.cached(availability, skus, 1.0)
    for each in DEMO_PRODUCTS:
        level = levels.get(each.sku)
        if level is None or not (level.stocked or each.on_hand == 0):
            raise Degraded(f"the stock of {each.sku} has not arrived yet")
        if await find_product(context.runner, each.sku) is None:
            raise Degraded(f"{each.sku} is not in the catalogue yet")
