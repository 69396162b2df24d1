"""What the order service keeps of the others: the catalogue, and who asked to be forgotten."""

from __future__ import annotations

from typing import Never

from pydantic import BaseModel, ConfigDict

from contracts.events.customer import CustomerDeleted
from contracts.events.product import ProductChanged
from contracts.values import Money
from participants.order.steps import AnonymiseOrder, order
from sagas import Context, Decision, Query, Runner

__all__ = ["CatalogueEntry", "Erasure", "catalogue", "erasures"]

PAGE = 100
#: A token of the deleted customer may still place an order for as long as it is good.
LAST_TOKEN_S = 3_700.0


class CatalogueEntry(BaseModel):
    """Enough of a product to price an order, so that placing one calls no other service."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    name: str
    price: Money
    active: bool


catalogue = order.aggregate(
    "catalogue", CatalogueEntry, key=lambda event: str(event.sku), dedupe="sequence"
)


@catalogue.follows(ProductChanged)
def product_changed(event: ProductChanged) -> Decision[CatalogueEntry, Never]:
    return Decision(
        CatalogueEntry(sku=event.sku, name=event.name, price=event.price, active=event.active)
    )


class Erasure(BaseModel):
    """A deleted customer whose addresses have to leave the orders."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    customer_id: str
    until: float


erasures = order.aggregate(
    "erasures", Erasure, key=lambda event: str(event.customer_id), dedupe="none"
)


@erasures.follows(CustomerDeleted)
def customer_deleted(
    event: CustomerDeleted, erasure: Erasure | None, ctx: Context
) -> Decision[Erasure, Never]:
    if erasure is not None:
        return Decision(erasure)
    begun = Erasure(customer_id=event.customer_id, until=ctx.now + LAST_TOKEN_S)
    return Decision(begun, timers={"erase": 0.0})


@erasures.timer("erase")
async def erase(erasure: Erasure, ctx: Context, runner: Runner) -> Decision[Erasure, Never]:
    """A page at a time, by stored timer: a crash in between goes on where it was."""
    query = Query(where={"customer_id": erasure.customer_id, "personal": True}, limit=PAGE)
    found = await runner.find(order.saga, query)
    for record, _ in found:
        await runner.execute(order.saga, record.key, AnonymiseOrder())
    if len(found) == PAGE:
        return Decision(erasure, timers={"erase": 0.0})
    if ctx.now < erasure.until:
        return Decision(erasure, timers={"erase": erasure.until - ctx.now + 1.0})
    return Decision(erasure)
