"""Inventory's part in the choreography: hold the goods, let them go, or see them leave."""

from __future__ import annotations

from typing import Never

from contracts.events.inventory import StockRejected, StockReleased, StockReserved
from contracts.events.payment import PaymentTaken
from contracts.events.shipping import (
    ParcelDispatched,
    ParcelLost,
    ShipmentCancelled,
    ShipmentRejected,
)
from participants.inventory.domain import Reservation
from participants.inventory.ledger import StockLedger
from participants.inventory.participant import inventory
from sagas import Context, Decision

__all__ = ["inventory"]


@inventory.step(
    on=PaymentTaken,
    emits=[StockReserved],
    refuses=[StockRejected],
    kept_on=[ParcelLost],  # the goods are gone with the parcel: there is nothing to put back
)
async def reserve_stock(
    paid: PaymentTaken, ledger: StockLedger
) -> Decision[Reservation, StockReserved | StockRejected]:
    quantities = {line.sku: line.quantity for line in paid.lines}
    short = await ledger.hold(paid.order_id, quantities)
    reservation = Reservation(
        order_id=paid.order_id,
        status="held" if short is None else "rejected",
        quantities=quantities,
    )
    if short is not None:
        rejected = StockRejected(
            order_id=paid.order_id,
            code="insufficient_stock",
            detail=f"There is not enough of {short}.",
        )
        return Decision(reservation, rejected)
    reserved = StockReserved(
        order_id=paid.order_id,
        customer_id=paid.customer_id,
        shipping_address=paid.shipping_address,
    )
    return Decision(reservation, reserved)


@reserve_stock.undone(on=[ShipmentRejected, ShipmentCancelled], emits=[StockReleased])
async def release_stock(
    event: ShipmentRejected | ShipmentCancelled,
    reservation: Reservation | None,
    ledger: StockLedger,
    ctx: Context,
) -> Decision[Reservation, StockReleased]:
    """Also when nothing is recorded: the hold may have happened, and must not happen later."""
    skus: tuple[str, ...] = () if reservation is None else tuple(reservation.quantities)
    if isinstance(event, ShipmentCancelled):
        skus = skus or event.skus
    await ledger.release(ctx.key, skus)
    released = StockReleased(order_id=ctx.key, code=event.code, detail=event.detail)
    # Kept also where there was none: whoever finds a hold that comes later knows that it is over.
    over = reservation or Reservation(order_id=ctx.key, status="held", quantities={})
    return Decision(over.model_copy(update={"status": "released"}), released)


@inventory.follows(ParcelDispatched)
async def withdraw_stock(
    reservation: Reservation, ledger: StockLedger
) -> Decision[Reservation, Never]:
    """The goods have left: the hold becomes a withdrawal."""
    await ledger.withdraw(reservation.order_id, reservation.quantities)
    return Decision(reservation.model_copy(update={"status": "withdrawn"}))
