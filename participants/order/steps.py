"""The order's part in the choreography: it starts the saga, follows it, and ends it when undone."""

from __future__ import annotations

from typing import ClassVar, Never

from contracts.events.order import CancellationRequested, OrderCancelled, OrderLine, OrderPlaced
from contracts.events.payment import PaymentDeclined, PaymentRefunded, PaymentTaken, RefundIssued
from contracts.events.shipping import (
    CancellationRefused,
    ParcelDelivered,
    ParcelDispatched,
    ParcelInTransit,
    ParcelLost,
    ShipmentCancelled,
    ShipmentScheduled,
)
from contracts.values import Address, Money
from participants.order.domain import Entry, Order
from sagas import Command, Context, Decision, Message, Participant, Refusal
from sagas.events import CancelRequested

__all__ = ["AnonymiseOrder", "PlaceOrder", "RequestCancellation", "order"]


class PlaceOrder(Command):
    """Lines carry the catalogue's names and prices, never the client's."""

    origin: ClassVar[str] = "POST /api/orders"
    order_id: str
    customer_id: str
    lines: tuple[OrderLine, ...]
    total: Money
    payment_method: str
    payment_token: str
    shipping_address: Address
    deadline_s: float


class RequestCancellation(Command):
    origin: ClassVar[str] = "POST /api/orders/{id}/cancel"
    by: str
    code: str
    reason: str | None


class AnonymiseOrder(Command):
    origin: ClassVar[str] = "DELETE /api/customers/{id}"


order = Participant(
    "order",
    state=Order,
    collection="orders",
    fields=lambda order: {
        "customer_id": order.customer_id,
        "status": order.status,
        "personal": order.shipping_address is not None,
    },
    names=("customer_id", "status", "personal"),
    indexes=(("customer_id",), ("status",), ("customer_id", "status")),
)


@order.step(on=PlaceOrder, emits=[OrderPlaced])
def place_order(command: PlaceOrder, ctx: Context) -> Decision[Order, OrderPlaced]:
    placed = Order(
        order_id=command.order_id,
        customer_id=command.customer_id,
        lines=command.lines,
        total=command.total,
        shipping_address=command.shipping_address,
        created_at=ctx.now,
        history=(Entry(status="pending", at=ctx.now),),
    )
    event = OrderPlaced(
        order_id=command.order_id,
        customer_id=command.customer_id,
        lines=command.lines,
        total=command.total,
        payment_method=command.payment_method,
        payment_token=command.payment_token,
        shipping_address=command.shipping_address,
    )
    return Decision(placed, event, timers={"deadline": command.deadline_s})


@place_order.undone(on=[PaymentDeclined, PaymentRefunded], emits=[OrderCancelled])
def cancel_order(
    event: PaymentDeclined | PaymentRefunded, order: Order | None, ctx: Context
) -> Decision[Order | None, OrderCancelled]:
    """The last of the chain: the money is back, or was never taken."""
    cancelled = OrderCancelled(order_id=ctx.key, code=event.code, detail=event.detail)
    if order is None:  # forged, or of another shop: there is nothing to cancel
        return Decision(None, cancelled)
    if isinstance(event, PaymentDeclined):
        order = order.with_payment(event.status, event.payment_id)
    elif event.amount is not None:
        order = order.with_payment("refunded")
    ended = order.cancelled(event.code, event.detail, ctx.now)
    return Decision(ended, cancelled, timers={"deadline": None})


# ------------------------------------------------------------------------------- cancelling


def _ask(
    order: Order, by: str, code: str, reason: str | None, now: float
) -> Decision[Order, CancellationRequested]:
    detail = reason or {
        "cancelled_by_customer": "The customer cancelled the order.",
        "cancelled_by_staff": "Staff cancelled the order.",
    }.get(code, "The order took too long.")
    asked = order.asked_to_cancel(by, code, reason, now)
    event = CancellationRequested(
        order_id=order.order_id, code=code, detail=detail, by=by, skus=order.skus
    )
    return Decision(asked, event)


@order.command(RequestCancellation, emits=[CancellationRequested])
def request_cancellation(
    command: RequestCancellation, order: Order | None, ctx: Context
) -> Decision[Order, CancellationRequested] | Refusal:
    """Shipping, the pivot's owner, decides; the undo runs from there."""
    if order is None:
        return Refusal("not_found", "There is no such order.")
    request = order.cancellation_request
    if not order.may_be_cancelled or (request is not None and request.status == "refused"):
        return Refusal("too_late_to_cancel", f"The order is {order.status}.")
    if request is not None:
        return Decision(order)  # asked already, and the answer is on its way
    return _ask(order, command.by, command.code, command.reason, ctx.now)


@order.follows(CancelRequested, emits=[CancellationRequested])
def operator_cancels(
    event: CancelRequested, order: Order, ctx: Context
) -> Decision[Order, CancellationRequested]:
    if not order.may_be_cancelled or order.cancellation_request is not None:
        return Decision(order)
    return _ask(order, event.by, "cancelled_by_staff", event.reason, ctx.now)


@order.timer("deadline", emits=[CancellationRequested])
def deadline_passes(order: Order, ctx: Context) -> Decision[Order, CancellationRequested]:
    if not order.may_be_cancelled or order.cancellation_request is not None:
        return Decision(order)
    return _ask(order, "deadline", "deadline_exceeded", None, ctx.now)


@order.follows(CancellationRefused)
def cancellation_refused(order: Order) -> Decision[Order, Never]:
    return Decision(order.cancellation_refused())


# ------------------------------------------------------------------------------- following
# Times in the history are when the thing happened, not when the news of it arrived.


@order.follows(PaymentTaken)
def paid(event: PaymentTaken, order: Order, message: Message) -> Decision[Order, Never]:
    taken = order.with_payment("captured", event.payment_id)
    return Decision(taken.reached("paid", message.time))


@order.follows(ShipmentScheduled)
def confirmed(event: ShipmentScheduled, order: Order, message: Message) -> Decision[Order, Never]:
    booked = order.with_shipment("scheduled", event.tracking_number)
    return Decision(booked.reached("confirmed", message.time))


@order.follows(ParcelDispatched)
def shipped(event: ParcelDispatched, order: Order, message: Message) -> Decision[Order, Never]:
    gone = order.with_shipment("dispatched", event.tracking_number)
    return Decision(gone.reached("shipped", message.time), timers={"deadline": None})


@order.follows(ParcelInTransit)
def in_transit(order: Order) -> Decision[Order, Never]:
    return Decision(order.with_shipment("in_transit"))


@order.follows(ParcelDelivered)
def delivered(order: Order, message: Message) -> Decision[Order, Never]:
    return Decision(order.with_shipment("delivered").reached("delivered", message.time))


@order.follows(ParcelLost)
def lost(order: Order) -> Decision[Order, Never]:
    return Decision(order.with_shipment("lost"))


@order.follows(ShipmentCancelled)
def shipment_cancelled(order: Order) -> Decision[Order, Never]:
    if order.shipment.status is None:
        return Decision(order)  # none was ever booked
    return Decision(order.with_shipment("cancelled"))


@order.follows(RefundIssued)
def refunded_by_staff(event: RefundIssued, order: Order) -> Decision[Order, Never]:
    return Decision(order.with_payment(event.status))


@order.command(AnonymiseOrder)
def anonymise(order: Order) -> Decision[Order, Never]:
    return Decision(order.anonymised())
