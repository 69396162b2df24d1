"""Orders and carts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from contracts.api.base import ListQuery, Request, Resource, Timestamp
from contracts.values import (
    Address,
    Identifier,
    Money,
    PaymentToken,
    Quantity,
    Reason,
    Sku,
    sensitive,
)

__all__ = [
    "CancelOrder",
    "Cancellation",
    "CancellationRequest",
    "CardPayment",
    "Cart",
    "CartItem",
    "Checkout",
    "CreateOrder",
    "Order",
    "OrderAccepted",
    "OrderLine",
    "OrderLinks",
    "OrderPayment",
    "OrderShipment",
    "OrderStatus",
    "OrderedLine",
    "OrdersQuery",
    "PutCartItem",
    "StatusEntry",
]

MAX_LINES = 50

OrderStatus = Literal["pending", "paid", "confirmed", "shipped", "delivered", "cancelled"]


class OrderLine(Request):
    """What to buy; its price comes from the catalogue."""

    sku: Sku
    quantity: Quantity


class CardPayment(Request):
    """How to pay: a token of the payment provider, never a card number."""

    method: Literal["card"]
    token: Annotated[PaymentToken, sensitive()]


class Checkout(Request):
    """``POST /api/carts/{customer_id}/checkout``."""

    payment: CardPayment
    shipping_address: Annotated[Address, sensitive()]


class CreateOrder(Checkout):
    """``POST /api/orders``. ``customer_id`` is the caller when absent or ``me``."""

    customer_id: Identifier = "me"
    lines: Annotated[list[OrderLine], Field(min_length=1, max_length=MAX_LINES)]

    @field_validator("lines")
    @classmethod
    def _each_sku_once(cls, lines: list[OrderLine]) -> list[OrderLine]:
        if len({line.sku for line in lines}) != len(lines):
            raise ValueError("must name each SKU at most once")
        return lines


class CancelOrder(Request):
    """``POST /api/orders/{id}/cancel``."""

    reason: Reason | None = None


class OrdersQuery(ListQuery):
    """``GET /api/orders``."""

    status: OrderStatus | None = None


class PutCartItem(Request):
    """``PUT /api/carts/{customer_id}/items/{sku}``."""

    quantity: Quantity


class CartItem(Resource):
    sku: str
    quantity: int


class Cart(Resource):
    customer_id: str
    items: list[CartItem]


class OrderLinks(Resource):
    """Where to read on: the order, its saga, and the saga's live stream of events."""

    order: str
    saga: str
    events: str


class OrderAccepted(Resource):
    """The 202: the order is stored and its saga runs. ``saga_id`` equals ``order_id``."""

    order_id: str
    saga_id: str
    status: OrderStatus
    total: Money
    links: OrderLinks


class OrderedLine(Resource):
    sku: str
    name: str
    quantity: int
    unit_price: Money


class OrderPayment(Resource):
    """As far as payment's events told; nulls before the first."""

    status: str | None
    payment_id: str | None


class OrderShipment(Resource):
    """As far as shipping's events told; nulls before the first."""

    tracking_number: str | None
    status: str | None


class StatusEntry(Resource):
    status: OrderStatus
    at: Timestamp


class CancellationRequest(Resource):
    """Somebody, or the saga's deadline, asked to cancel."""

    status: Literal["requested", "refused", "done"]
    by: str
    reason: str | None
    at: Timestamp


class Cancellation(Resource):
    """Why the order ended cancelled."""

    code: str
    detail: str


class Order(Resource):
    """``history`` is in the flow's order, whatever the order in which events arrived."""

    order_id: str
    customer_id: str
    status: OrderStatus
    lines: list[OrderedLine]
    total: Money
    shipping_address: Annotated[Address | None, sensitive()]
    payment: OrderPayment
    shipment: OrderShipment
    created_at: Timestamp
    history: list[StatusEntry]
    cancellation_request: CancellationRequest | None
    cancellation: Cancellation | None
