"""What the order service says."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from contracts.base import Event
from contracts.values import Address, Money

__all__ = [
    "CancellationRequested",
    "OrderCancelled",
    "OrderLine",
    "OrderPlaced",
]


class OrderLine(BaseModel):
    """One product of an order, at the price of the moment it was placed."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    name: str
    quantity: int
    unit_price: Money


class OrderPlaced(Event, version=1):
    """An order stands as pending: every later step takes what it needs from here."""

    order_id: str
    customer_id: str
    lines: tuple[OrderLine, ...]
    total: Money
    payment_method: str
    payment_token: Annotated[str, Field(json_schema_extra={"sensitive": True})]
    shipping_address: Annotated[Address, Field(json_schema_extra={"sensitive": True})]


class CancellationRequested(Event, version=1):
    """Someone, or the deadline, wants the order cancelled: the pivot's owner is asked first."""

    order_id: str
    code: str
    detail: str
    by: str
    #: What may be held for the order: whoever undoes a step that never ran still needs its keys.
    skus: tuple[str, ...]


class OrderCancelled(Event, version=1):
    """Terminal: the order is cancelled, and the money is back where it came from."""

    order_id: str
    code: str
    detail: str
