"""A shipment: what the carrier reported. Plain values in, plain values out."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["Report", "Shipment", "ShipmentStatus"]

ShipmentStatus = Literal["scheduled", "dispatched", "in_transit", "delivered", "cancelled", "lost"]

_RANK: dict[str, int] = {
    "scheduled": 0,
    "dispatched": 1,
    "in_transit": 2,
    "delivered": 3,
    "lost": 3,
    "cancelled": 4,
}


class Report(BaseModel):
    """A status, when the carrier says it happened, and the id of the carrier's report."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    status: ShipmentStatus
    at: float
    event_id: str | None = None


class Shipment(BaseModel):
    """The shipment of one order. Its id is the order's: one saga, one shipment."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    shipment_id: str
    order_id: str
    customer_id: str
    status: ShipmentStatus
    tracking_number: str | None = None
    reports: tuple[Report, ...] = ()

    @property
    def has_left(self) -> bool:
        return any(report.status == "dispatched" for report in self.reports)

    def knows(self, event_id: str) -> bool:
        """Whether this report of the carrier's was recorded before."""
        return any(report.event_id == event_id for report in self.reports)

    def reported(self, status: ShipmentStatus, at: float, event_id: str | None = None) -> Shipment:
        """With one more report; an earlier status after a later one is recorded, no more."""
        if event_id is not None and self.knows(event_id):
            return self
        reports = (*self.reports, Report(status=status, at=at, event_id=event_id))
        later = _RANK[status] > _RANK[self.status]
        return self.model_copy(
            update={"reports": reports, "status": status if later else self.status}
        )
