"""An order: its statuses, and when it may be cancelled. Plain values in, plain values out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.events.order import OrderLine
from contracts.values import Address, Money

__all__ = ["Cancellation", "CancellationRequest", "Entry", "Order", "OrderStatus", "Payment"]

OrderStatus = Literal["pending", "paid", "confirmed", "shipped", "delivered", "cancelled"]

#: The flow's order: an event that arrives late never takes an order back.
_RANK: dict[str, int] = {
    "pending": 0,
    "paid": 1,
    "confirmed": 2,
    "shipped": 3,
    "delivered": 4,
    "cancelled": 5,
}
#: Until the parcel leaves, anything can be undone.
_CANCELLABLE = ("pending", "paid", "confirmed")


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)


class Entry(_Value):
    """A status, and when the order took it (seconds since the epoch)."""

    status: OrderStatus
    at: float


class Payment(_Value):
    """What payment's events told."""

    status: str | None = None
    payment_id: str | None = None


class Shipment(_Value):
    """What shipping's events told."""

    tracking_number: str | None = None
    status: str | None = None


class CancellationRequest(_Value):
    """Somebody, or the deadline, asked to cancel. ``code`` becomes the cancellation's."""

    status: Literal["requested", "refused", "done"]
    by: str
    code: str
    reason: str | None
    at: float


class Cancellation(_Value):
    """Why the order ended cancelled."""

    code: str
    detail: str


class Order(_Value):
    """The order as its own events and the others' made it."""

    order_id: str
    customer_id: str
    status: OrderStatus = "pending"
    lines: tuple[OrderLine, ...]
    total: Money
    shipping_address: Address | None
    payment: Payment = Payment()
    shipment: Shipment = Shipment()
    created_at: float
    history: tuple[Entry, ...]
    cancellation_request: CancellationRequest | None = None
    cancellation: Cancellation | None = None

    @property
    def skus(self) -> tuple[str, ...]:
        return tuple(line.sku for line in self.lines)

    @property
    def may_be_cancelled(self) -> bool:
        return self.status in _CANCELLABLE

    def reached(self, status: OrderStatus, at: float) -> Order:
        """The order after ``status``: an overtaken one enters the history in the flow's order."""
        if any(entry.status == status for entry in self.history):
            return self
        history = (*self.history, Entry(status=status, at=at))
        if _RANK[status] < _RANK[self.status]:
            history = tuple(sorted(history, key=lambda entry: _RANK[entry.status]))
            return self.model_copy(update={"history": history})
        return self.model_copy(update={"history": history, "status": status})

    def with_payment(self, status: str, payment_id: str | None = None) -> Order:
        """A refund stands, whichever of payment's events arrives after it."""
        if self.payment.status in ("refunded", "partially_refunded") and status == "captured":
            status = self.payment.status
        known = payment_id or self.payment.payment_id
        return self.model_copy(update={"payment": Payment(status=status, payment_id=known)})

    def with_shipment(self, status: str, tracking_number: str | None = None) -> Order:
        """The parcel only moves on: an earlier report that arrives later changes nothing."""
        order = ("scheduled", "dispatched", "in_transit", "delivered", "lost", "cancelled")
        now = self.shipment.status
        if now is not None and order.index(status) < order.index(now):
            status = now
        known = tracking_number or self.shipment.tracking_number
        return self.model_copy(update={"shipment": Shipment(tracking_number=known, status=status)})

    def asked_to_cancel(self, by: str, code: str, reason: str | None, at: float) -> Order:
        request = CancellationRequest(status="requested", by=by, code=code, reason=reason, at=at)
        return self.model_copy(update={"cancellation_request": request})

    def cancellation_refused(self) -> Order:
        if self.cancellation_request is None:
            return self
        refused = self.cancellation_request.model_copy(update={"status": "refused"})
        return self.model_copy(update={"cancellation_request": refused})

    def cancelled(self, code: str, detail: str, at: float) -> Order:
        """Everything is undone: the end, whatever still arrives."""
        request = self.cancellation_request
        if request is not None and request.status == "requested":
            request = request.model_copy(update={"status": "done"})
        update = {
            "cancellation": Cancellation(code=code, detail=detail),
            "cancellation_request": request,
        }
        return self.reached("cancelled", at).model_copy(update=update)

    def anonymised(self) -> Order:
        """Without what is personal; the rest is needed for the books."""
        return self.model_copy(update={"shipping_address": None})
