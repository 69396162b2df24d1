"""Shipping's part in the choreography: book the parcel, follow it, and own the pivot."""

from __future__ import annotations

from contracts.events.inventory import StockReserved
from contracts.events.order import CancellationRequested
from contracts.events.shipping import (
    CancellationRefused,
    ParcelDelivered,
    ParcelDispatched,
    ParcelInTransit,
    ParcelLost,
    ShipmentCancelled,
    ShipmentRejected,
    ShipmentScheduled,
)
from participants.shipping.carrier import (
    Carrier,
    CarrierDelivered,
    CarrierDispatched,
    CarrierInTransit,
    CarrierLost,
    NotTaken,
    shipping,
)
from participants.shipping.domain import Shipment
from sagas import Context, Decision, NotYet

__all__ = ["shipping"]

#: A carrier takes its time: a parcel counts as stuck only after days.
CARRIER_DEADLINE_S = 7 * 24 * 3_600.0


@shipping.step(
    on=StockReserved,
    emits=[ShipmentScheduled],
    refuses=[ShipmentRejected],
    kept_on=[ParcelLost],  # the parcel has left: there is no booking to take back
)
async def schedule_shipment(
    reserved: StockReserved, carrier: Carrier, ctx: Context
) -> Decision[Shipment | None, ShipmentScheduled | ShipmentRejected]:
    answer = await carrier.book(ctx.key, reserved.shipping_address)
    if isinstance(answer, NotTaken):
        rejected = ShipmentRejected(order_id=ctx.key, code=answer.code, detail=answer.detail)
        return Decision(None, rejected)
    shipment = Shipment(
        shipment_id=ctx.key,
        order_id=ctx.key,
        customer_id=reserved.customer_id,
        status="scheduled",
        tracking_number=answer.tracking_number,
    ).reported("scheduled", ctx.now)
    scheduled = ShipmentScheduled(
        order_id=ctx.key,
        shipment_id=shipment.shipment_id,
        tracking_number=answer.tracking_number,
    )
    return Decision(shipment, scheduled)


@schedule_shipment.undone(
    on=CancellationRequested, emits=[ShipmentCancelled], refuses=[CancellationRefused]
)
async def cancel_shipment(
    request: CancellationRequested, shipment: Shipment | None, carrier: Carrier, ctx: Context
) -> Decision[Shipment | None, ShipmentCancelled | CancellationRefused]:
    """Ask the carrier, whose answer decides, unless its report of a dispatch is here already."""
    has_left = shipment is not None and shipment.has_left
    if has_left or not await carrier.cancel(ctx.key):
        refused = CancellationRefused(
            order_id=ctx.key, code="too_late_to_cancel", detail="The parcel has left."
        )
        return Decision(shipment, refused)
    cancelled = ShipmentCancelled(
        order_id=ctx.key, code=request.code, detail=request.detail, skus=request.skus
    )
    if shipment is not None:
        shipment = shipment.reported("cancelled", ctx.now)
    return Decision(shipment, cancelled)


def _left(shipment: Shipment) -> ParcelDispatched:
    return ParcelDispatched(
        order_id=shipment.order_id,
        shipment_id=shipment.shipment_id,
        tracking_number=shipment.tracking_number or "",
    )


@shipping.step(
    on=CarrierDispatched, emits=[ParcelDispatched], pivot=True, deadline_s=CARRIER_DEADLINE_S
)
def dispatch_parcel(
    report: CarrierDispatched, shipment: Shipment | None, ctx: Context
) -> Decision[Shipment | None, ParcelDispatched]:
    if shipment is None and "schedule_shipment" not in ctx.steps:
        raise NotYet("the carrier was quicker than the record of its booking")
    if shipment is None or shipment.status == "cancelled":
        detail = "The carrier dispatched a parcel that was cancelled: goods and money are both out."
        if shipment is not None:
            shipment = shipment.reported("dispatched", report.occurred_at, report.event_id)
        return Decision(shipment, attention=detail)
    if shipment.has_left:
        return Decision(shipment.reported("dispatched", report.occurred_at, report.event_id))
    gone = shipment.reported("dispatched", report.occurred_at, report.event_id)
    return Decision(gone, _left(gone))


@shipping.follows(CarrierInTransit, emits=[ParcelInTransit])
def parcel_in_transit(
    report: CarrierInTransit, shipment: Shipment
) -> Decision[Shipment, ParcelInTransit]:
    moved = shipment.reported("in_transit", report.occurred_at, report.event_id)
    if moved.status == shipment.status:
        return Decision(moved)  # a repeat, or overtaken by a later report
    on_its_way = ParcelInTransit(order_id=moved.order_id, shipment_id=moved.shipment_id)
    return Decision(moved, on_its_way)


@shipping.step(
    on=[CarrierDelivered, CarrierLost],
    emits=[ParcelDelivered],
    refuses=[ParcelLost],
    deadline_s=CARRIER_DEADLINE_S,
)
def deliver_parcel(
    report: CarrierDelivered | CarrierLost, shipment: Shipment
) -> Decision[Shipment, ParcelDelivered | ParcelLost]:
    if shipment.status == "cancelled":
        told = shipment.reported("delivered", report.occurred_at, report.event_id)
        return Decision(told, attention="The carrier moved a parcel that was cancelled.")
    if isinstance(report, CarrierLost):
        lost = shipment.reported("lost", report.occurred_at, report.event_id)
        event = ParcelLost(
            order_id=lost.order_id,
            code="lost_in_transit",
            detail="The carrier lost the parcel.",
        )
        return Decision(lost, event)
    arrived = shipment.reported("delivered", report.occurred_at, report.event_id)
    return Decision(
        arrived, ParcelDelivered(order_id=arrived.order_id, shipment_id=arrived.shipment_id)
    )
