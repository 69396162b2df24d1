"""What the demo seed puts in place, as plain data: the catalogue with its stock, and two logins.

Several services seed from here, each its own part and in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contracts.values import Money

__all__ = ["DEMO_ACCOUNTS", "DEMO_PRODUCTS", "DemoAccount", "DemoProduct"]


@dataclass(frozen=True, slots=True)
class DemoProduct:
    """A product, and how much of it is on hand at first."""

    sku: str
    name: str
    description: str
    category: str
    price: Money
    on_hand: int


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """A login. The id is fixed: whoever seeds, and however often, means the same customer."""

    customer_id: str
    name: str
    email: str
    password: str
    role: Literal["customer", "staff"]


def _product(
    sku: str, name: str, category: str, cents: int, description: str, on_hand: int = 1_000
) -> DemoProduct:
    price = Money(amount=cents, currency="USD")
    return DemoProduct(sku, name, description, category, price, on_hand)


DEMO_PRODUCTS = (
    _product("LAMP-01", "Desk Lamp", "lighting", 1999, "Warm light on a bent arm.", 100_000),
    _product("LAMP-02", "Floor Lamp", "lighting", 7900, "Stands in a corner and fills it."),
    _product("LAMP-03", "Clip Lamp", "lighting", 1450, "Holds on to a shelf or a book."),
    _product("BULB-01", "Filament Bulb", "lighting", 690, "Looks old, uses four watts."),
    _product("MUG-01", "Stoneware Mug", "kitchen", 1250, "Holds a third of a litre.", 100_000),
    _product("MUG-02", "Travel Mug", "kitchen", 2200, "Keeps tea hot from here to there."),
    _product("POT-01", "Enamel Pot", "kitchen", 3490, "Three litres, with a lid."),
    _product("KNIFE-01", "Bread Knife", "kitchen", 2890, "Long, serrated, for hard crusts."),
    _product("NOTE-01", "Dotted Notebook", "stationery", 890, "192 pages that lie flat."),
    _product("PEN-01", "Gel Pen", "stationery", 320, "Black, and refillable."),
    _product("RARE-01", "Brass Astrolabe", "collectibles", 50_000, "One of very few.", 5),
    _product("GONE-01", "Wax Seal", "collectibles", 999, "Everybody wanted one.", 0),
)

DEMO_ACCOUNTS = (
    DemoAccount(
        customer_id="00000000-0000-7000-8000-000000000001",
        name="Demo Staff",
        email="staff@example.com",
        password="staff-demo-password",
        role="staff",
    ),
    DemoAccount(
        customer_id="00000000-0000-7000-8000-000000000002",
        name="Demo Customer",
        email="customer@example.com",
        password="customer-demo-password",
        role="customer",
    ),
)
