"""The stock of one SKU. Commutative updates: holds add up in any order."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["RELEASED_HORIZON_S", "Reservation", "StockItem"]

#: How long, and how many, orders that are through with a SKU are remembered in its document: an
#: instance that stalled between its inbox check and its hold is refused then. What comes later yet,
#: the reconciliation finds.
RELEASED_HORIZON_S = 60.0
MAX_RELEASED = 200
#: Adjustments are remembered this long, and this many, so that a repeat changes nothing.
ADJUSTMENT_HORIZON_S = 24 * 3_600.0
MAX_ADJUSTMENTS = 1_000


class Reservation(BaseModel):
    """What one order holds: SKU → quantity, until released or withdrawn."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    order_id: str
    status: str
    quantities: dict[str, int]

    @property
    def is_over(self) -> bool:
        """It holds nothing, and never will again."""
        return self.status != "held"


class StockItem(BaseModel):
    """``holds``: order id → quantity; ``released``: order id → until when its hold is refused.

    ``changes`` counts what altered a number.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    on_hand: int = 0
    reserved: int = 0
    changes: int = 0
    seeded: bool = False
    holds: dict[str, int] = {}
    released: dict[str, float] = {}
    adjustments: dict[str, float] = {}

    @property
    def available(self) -> int:
        return self.on_hand - self.reserved

    def hold(self, order_id: str, quantity: int) -> StockItem | None:
        """With ``quantity`` held for the order; ``None`` when there is not enough, or too late."""
        if order_id in self.holds:
            return self  # a repeat
        if order_id in self.released or quantity > self.available:
            return None
        return self._changed(
            reserved=self.reserved + quantity, holds={**self.holds, order_id: quantity}
        )

    def release(self, order_id: str, now: float) -> StockItem:
        """With nothing held for the order, now and, for a while, ever after."""
        released = self._through_with(order_id, now)
        if order_id not in self.holds:
            return self.model_copy(update={"released": released})
        holds = dict(self.holds)
        quantity = holds.pop(order_id)
        return self._changed(reserved=self.reserved - quantity, holds=holds, released=released)

    def withdraw(self, order_id: str, now: float) -> StockItem:
        """With the order's goods gone."""
        if order_id not in self.holds:
            return self  # a repeat
        holds = dict(self.holds)
        quantity = holds.pop(order_id)
        return self._changed(
            on_hand=self.on_hand - quantity,
            reserved=self.reserved - quantity,
            holds=holds,
            released=self._through_with(order_id, now),
        )

    def _through_with(self, order_id: str, now: float) -> dict[str, float]:
        released = {key: until for key, until in self.released.items() if until > now}
        while len(released) >= MAX_RELEASED:
            del released[next(iter(released))]
        released[order_id] = now + RELEASED_HORIZON_S
        return released

    def adjust(self, delta: int, operation: str, now: float) -> StockItem | None:
        """With ``delta`` more on hand; ``None`` when ``available`` would go below 0."""
        if operation in self.adjustments:
            return self
        if self.available + delta < 0:
            return None
        recent = {
            key: at for key, at in self.adjustments.items() if at > now - ADJUSTMENT_HORIZON_S
        }
        while len(recent) >= MAX_ADJUSTMENTS:
            del recent[next(iter(recent))]
        recent[operation] = now
        return self._changed(on_hand=self.on_hand + delta, adjustments=recent)

    def seed(self, on_hand: int) -> StockItem:
        """With the demo's first delivery, once."""
        if self.seeded:
            return self
        return self._changed(on_hand=self.on_hand + on_hand, seeded=True)

    def _changed(self, **update: object) -> StockItem:
        return self.model_copy(update={**update, "changes": self.changes + 1})
