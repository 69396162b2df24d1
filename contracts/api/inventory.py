"""Stock."""

from __future__ import annotations

from contracts.api.base import ListQuery, Request, Resource
from contracts.values import Delta, Reason

__all__ = ["AdjustStock", "Stock", "StocksQuery"]


class AdjustStock(Request):
    """``POST /api/inventory/{sku}/adjustments`` (staff): goods came or went."""

    delta: Delta
    reason: Reason


class StocksQuery(ListQuery):
    """``GET /api/inventory`` (staff)."""


class Stock(Resource):
    """``available`` is ``on_hand`` less ``reserved`` and never below 0."""

    sku: str
    on_hand: int
    reserved: int
    available: int
    version: int
