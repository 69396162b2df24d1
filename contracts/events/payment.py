"""What the payment service says."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.base import Event, Refusal
from contracts.events.order import OrderLine
from contracts.values import Address, Money

__all__ = ["PaymentDeclined", "PaymentRefunded", "PaymentTaken", "RefundIssued"]


class PaymentTaken(Event, version=1):
    """The money is captured. Carries on what the later steps need of the order."""

    order_id: str
    customer_id: str
    payment_id: str
    amount: Money
    lines: tuple[OrderLine, ...]
    shipping_address: Annotated[Address, Field(json_schema_extra={"sensitive": True})]


class PaymentDeclined(Refusal, version=1):
    """No money was taken, and none will be under this key. ``status``: what the payment is now;
    it has no id where an earlier release sent this.
    """

    order_id: str
    payment_id: str | None = None
    status: Literal["declined", "voided"] = "declined"


class PaymentRefunded(Event, version=1):
    """Undo: whatever was captured is back, less what had been refunded before."""

    order_id: str
    amount: Money | None
    code: str
    detail: str


class RefundIssued(Event, version=1):
    """Staff refunded a part or all of a payment after its saga had ended."""

    order_id: str
    payment_id: str
    amount: Money
    reason: str
    #: What the payment is now: ``refunded`` or ``partially_refunded``.
    status: str
