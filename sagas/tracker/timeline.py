"""One event of a saga as the tracker keeps it, and the order in which people read events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Entry", "in_order"]


class Entry(NamedTuple):
    """An event heard. A tuple, since many are written with every change; ``data`` is JSON."""

    id: str
    type: str
    participant: str
    time: float
    causation_id: str | None
    attempt: int
    sequence: int
    data: str
    #: What it says about the business (``sagas.insight``), as JSON; nothing for most.
    facts: str = ""


def in_order(entries: Sequence[Entry]) -> list[Entry]:
    """By time; of events of one moment a cause stands before its effects; then by id."""
    by_id = {entry.id: entry for entry in entries}

    def depth(entry: Entry) -> int:
        steps, cause = 0, by_id.get(entry.causation_id or "")
        # Bounded, because a forged event could name itself as its cause.
        while cause is not None and cause.time == entry.time and steps < len(by_id):
            steps, cause = steps + 1, by_id.get(cause.causation_id or "")
        return steps

    return sorted(entries, key=lambda entry: (entry.time, depth(entry), entry.id))
