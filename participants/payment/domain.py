"""A payment: what was taken, what went back. Plain values in, plain values out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from contracts.values import Money

__all__ = ["Payment", "PaymentStatus"]

PaymentStatus = Literal[
    "authorized", "captured", "declined", "voided", "refunded", "partially_refunded"
]


class Payment(BaseModel):
    """The payment of one order. Its id is the order's: one saga, one payment.

    ``charges`` counts how often the provider really took money. ``saga_open``: until the saga has
    ended only its undo may move money.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    payment_id: str
    order_id: str
    customer_id: str
    status: PaymentStatus
    amount: Money
    refunded: int = 0
    charges: int = 0
    saga_open: bool = True
    #: Refunds that are decided but not yet known to be made: id → minor units, and why.
    pending: dict[str, tuple[int, str]] = {}

    @property
    def left(self) -> int:
        """Minor units that could still be refunded."""
        captured = self.amount.amount if self.charges else 0
        return captured - self.refunded - sum(amount for amount, _ in self.pending.values())

    def intend(self, refund_id: str, amount: int, reason: str) -> Payment:
        """Decide a refund of ``amount``, at most ``left``, before the provider is asked for it."""
        return self.model_copy(update={"pending": {**self.pending, refund_id: (amount, reason)}})

    def made(self, refund_id: str) -> Payment:
        """That refund is made."""
        pending = dict(self.pending)
        amount, _ = pending.pop(refund_id)
        return self.model_copy(update={"pending": pending}).refund(amount)

    def refund(self, amount: int) -> Payment:
        """After ``amount`` minor units went back; at most ``left``."""
        refunded = self.refunded + amount
        status = "refunded" if refunded == self.amount.amount else "partially_refunded"
        return self.model_copy(update={"refunded": refunded, "status": status})

    def closed(self) -> Payment:
        return self.model_copy(update={"saga_open": False})
