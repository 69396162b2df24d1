"""The inventory participant, whose documents are declared in two places: ledger and steps."""

from __future__ import annotations

from participants.inventory.domain import Reservation
from sagas import Participant

__all__ = ["inventory"]

inventory = Participant("inventory", state=Reservation, collection="reservations")
