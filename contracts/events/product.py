"""What the product service says."""

from __future__ import annotations

from contracts.base import Event
from contracts.values import Money

__all__ = ["ProductChanged"]


class ProductChanged(Event, version=1):
    """A product as it now stands (created, edited or archived): absolute values.

    One event for all three: a listener keeps a copy, and a later one replaces an earlier one.
    """

    sku: str
    name: str
    price: Money
    active: bool
