"""Payments and refunds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from contracts.api.base import ListQuery, Request, Resource
from contracts.values import MAX_MONEY, Currency, Identifier, Money, Reason, Value

__all__ = ["Payment", "PaymentStatus", "PaymentsQuery", "PositiveMoney", "RefundPayment"]

PaymentStatus = Literal[
    "authorized", "captured", "declined", "voided", "refunded", "partially_refunded"
]


class PositiveMoney(Value):
    """Money, and some: a refund of nothing is a mistake."""

    amount: Annotated[int, Field(ge=1, le=MAX_MONEY)]
    currency: Currency


class RefundPayment(Request):
    """``POST /api/payments/{id}/refund`` (staff): the whole of what is left without ``amount``."""

    amount: PositiveMoney | None = None
    reason: Reason


class PaymentsQuery(ListQuery):
    """``GET /api/payments``."""

    order_id: Identifier | None = None


class Payment(Resource):
    """``charges``: how often the provider really took money for it."""

    payment_id: str
    order_id: str
    status: PaymentStatus
    amount: Money
    refunded: Money
    charges: int
