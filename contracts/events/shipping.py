"""What the shipping service says."""

from __future__ import annotations

from contracts.base import Event, Refusal

__all__ = [
    "CancellationRefused",
    "ParcelDelivered",
    "ParcelDispatched",
    "ParcelInTransit",
    "ParcelLost",
    "ShipmentCancelled",
    "ShipmentRejected",
    "ShipmentScheduled",
]


class ShipmentScheduled(Event, version=1):
    """The carrier has booked the parcel: from here nothing is refused any more."""

    order_id: str
    shipment_id: str
    tracking_number: str


class ShipmentRejected(Refusal, version=1):
    """The carrier does not take this parcel."""

    order_id: str


class ShipmentCancelled(Event, version=1):
    """Undo: no parcel will leave for this order."""

    order_id: str
    code: str
    detail: str
    skus: tuple[str, ...]


class CancellationRefused(Refusal, version=1):
    """Too late: the parcel has left."""

    order_id: str


class ParcelDispatched(Event, version=1):
    """The pivot: the goods have left, from here the saga only goes forward."""

    order_id: str
    shipment_id: str
    tracking_number: str


class ParcelInTransit(Event, version=1):
    """The parcel is on its way."""

    order_id: str
    shipment_id: str


class ParcelDelivered(Event, version=1):
    """Terminal: the goods have arrived."""

    order_id: str
    shipment_id: str


class ParcelLost(Refusal, version=1):
    """The carrier lost the parcel: the money goes back, the goods are gone."""

    order_id: str
