"""Shipments, and what the carrier reports."""

from __future__ import annotations

from typing import Literal

from contracts.api.base import ListQuery, Request, Resource, Timestamp
from contracts.values import Identifier, Time

__all__ = [
    "CarrierEvent",
    "Shipment",
    "ShipmentStatus",
    "ShipmentsQuery",
    "Tracking",
    "TrackingEntry",
]

ShipmentStatus = Literal["scheduled", "dispatched", "in_transit", "delivered", "cancelled", "lost"]


class CarrierEvent(Request):
    """``POST /api/shipping/{id}/events``: a signed report; a repeated ``event_id`` is none."""

    event_id: Identifier
    status: Literal["dispatched", "in_transit", "delivered", "lost"]
    occurred_at: Time


class ShipmentsQuery(ListQuery):
    """``GET /api/shipping``."""

    order_id: Identifier | None = None


class Shipment(Resource):
    shipment_id: str
    order_id: str
    status: ShipmentStatus
    tracking_number: str | None


class TrackingEntry(Resource):
    status: ShipmentStatus
    at: Timestamp


class Tracking(Resource):
    """``GET /api/shipping/track/{tracking_number}``: for anybody, so status and times only."""

    tracking_number: str
    status: ShipmentStatus
    history: list[TrackingEntry]
