"""What the inventory service says."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from contracts.base import Event, Refusal
from contracts.values import Address

__all__ = ["StockLevelChanged", "StockRejected", "StockReleased", "StockReserved"]


class StockReserved(Event, version=1):
    """Every line of the order is held for it."""

    order_id: str
    customer_id: str
    shipping_address: Annotated[Address, Field(json_schema_extra={"sensitive": True})]


class StockRejected(Refusal, version=1):
    """Some line could not be held, so none is."""

    order_id: str


class StockReleased(Event, version=1):
    """Undo: nothing is held for this order, and nothing will be."""

    order_id: str
    code: str
    detail: str


class StockLevelChanged(Event, version=1):
    """The stock of one SKU, as absolute values: a later one replaces an earlier one."""

    latest: ClassVar[bool] = True

    sku: str
    on_hand: int
    reserved: int
    available: int
