"""What the shop's events say about its business: money, stock, products, and where parcels go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from contracts.events.inventory import StockReleased, StockReserved
from contracts.events.order import OrderPlaced
from contracts.events.payment import PaymentRefunded, PaymentTaken
from contracts.events.shipping import ParcelDelivered, ParcelDispatched
from sagas.insight import Business, Fact, InFlight

__all__ = ["business"]

#: An area, not an address: a whole postal code may be a single house.
AREA_LENGTH = 3


def _quantities(data: Mapping[str, Any]) -> dict[str, int]:
    return {line["sku"]: line["quantity"] for line in data["lines"]}


def _area(data: Mapping[str, Any]) -> dict[str, int]:
    address = data["shipping_address"]
    return {f"{address['country']} {address['postal_code'][:AREA_LENGTH]}": 1}


def _amount(data: Mapping[str, Any]) -> dict[str, int]:
    return {data["amount"]["currency"]: data["amount"]["amount"]}


business = Business(
    facts=[
        Fact("product", OrderPlaced, _quantities),
        Fact("postal_area", OrderPlaced, _area),
        Fact("money", PaymentTaken, _amount),
    ],
    in_flight=[
        InFlight("money", "money", PaymentTaken, [PaymentRefunded, ParcelDelivered]),
        InFlight("stock", "product", StockReserved, [StockReleased, ParcelDispatched]),
    ],
    failures_by=["product", "postal_area"],
)
