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

    model_config = ConfigDict(frozen=True)

    payment_id: str
    order_id: str
    customer_id: str
    status: PaymentStatus
    amount: Money
    refunded: int = 0
    charges: int = 0
    saga_open: bool = True

    @property
    def left(self) -> int:
        """Minor units that could still be refunded."""
        captured = self.amount.amount if self.charges else 0
        return captured - self.refunded

    def refund(self, amount: int) -> Payment:
        """After ``amount`` minor units went back; at most ``left``."""
        status = "refunded" if amount == self.left else "partially_refunded"
        return self.model_copy(update={"refunded": self.refunded + amount, "status": status})

    def closed(self) -> Payment:
        return self.model_copy(update={"saga_open": False})
