"""What the customer service says."""

from __future__ import annotations

from contracts.base import Event

__all__ = ["CustomerDeleted"]


class CustomerDeleted(Event, version=1):
    """A customer asked to be forgotten: every service drops what is personal."""

    customer_id: str
