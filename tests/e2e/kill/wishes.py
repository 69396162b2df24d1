"""What customers order: each order is drawn from the seed and its number, and so can be again."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

__all__ = ["Wish", "wish"]

#: Plenty of each, so that these never refuse an order.
STOCKED = ("LAMP-01", "MUG-01")
#: A few of each, for which everybody competes.
SCARCE = ("RARE-01", "LAMP-03", "PEN-01")
PLAIN, REFUSED, LOST = "12345", "00000", "99999"

#: Kind of order → how many of a hundred.
MIX = {
    "plain": 44,
    "several lines": 12,
    "scarce": 6,
    "tok_declined": 7,
    "tok_flaky": 7,
    "tok_timeout": 7,
    "tok_outage": 2,
    "unavailable": 5,
    "undeliverable": 5,
    "lost": 5,
}
CANCELLED = 0.10
GIVEN_UP = 0.03


@dataclass(frozen=True, slots=True)
class Wish:
    """One order as its customer means it. ``key`` is its Idempotency-Key, and in its address."""

    key: str
    kind: str
    lines: dict[str, int]
    token: str
    postal_code: str
    #: Seconds after it was placed; ``None``: never.
    cancel_after_s: float | None
    #: The customer asks once only, and never learns what became of an unanswered request.
    gives_up: bool

    @property
    def body(self) -> dict[str, Any]:
        return {
            "lines": [{"sku": sku, "quantity": count} for sku, count in self.lines.items()],
            "payment": {"method": "card", "token": self.token},
            "shipping_address": {
                "line1": self.key,
                "city": "Springfield",
                "postal_code": self.postal_code,
                "country": "US",
            },
        }

    @property
    def may_end(self) -> set[str | None]:
        """Codes of the cancellations it may end with; ``None``: delivered."""
        promised: dict[str, set[str | None]] = {
            "scarce": {None, "insufficient_stock"},
            "tok_declined": {"payment_declined"},
            "tok_outage": {"payment_unavailable"},
            "unavailable": {"insufficient_stock"},
            "undeliverable": {"undeliverable_address"},
            "lost": {"lost_in_transit"},
        }
        asked: set[str | None] = set() if self.cancel_after_s is None else {"cancelled_by_customer"}
        return promised.get(self.kind, {None}) | asked


def wish(seed: str, number: int) -> Wish:
    """Order ``number`` of this seed."""
    chance = Random(f"{seed}/{number}")
    kind = chance.choices(list(MIX), list(MIX.values()))[0]
    lines = {chance.choice(STOCKED): chance.randint(1, 2)}
    if kind == "several lines":
        lines = {sku: chance.randint(1, 2) for sku in chance.sample(STOCKED, 2)}
    elif kind == "scarce":
        lines |= {chance.choice(SCARCE): chance.randint(1, 2)}
    elif kind == "unavailable":
        # Beside something that there is: its hold has to be let go again.
        lines |= {chance.choice(("GONE-01", "RARE-01")): 1_000}
    return Wish(
        key=f"order-{number}-of-{seed}",
        kind=kind,
        lines=lines,
        token=kind if kind.startswith("tok_") else "tok_ok",
        postal_code={"undeliverable": REFUSED, "lost": LOST}.get(kind, PLAIN),
        cancel_after_s=chance.uniform(0, 1.0) if chance.random() < CANCELLED else None,
        gives_up=chance.random() < GIVEN_UP,
    )
