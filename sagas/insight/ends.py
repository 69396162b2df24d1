"""Which sagas are to be forgotten, and when, in event time."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

from sagas.insight.sums import KEPT_S
from sagas.tracker import SagaStatus, SagaView

__all__ = ["ENDED_KEPT_S", "WRONG_KEPT_S", "Ends", "kept_until"]

#: How long a saga is kept after its last event, behind the newest one of its partition, when it has
#: ended, or has not begun. What comes of it later is counted as forgotten.
ENDED_KEPT_S: Final = 3_600.0
#: And when it ended with something wrong that somebody should see.
WRONG_KEPT_S: Final = float(KEPT_S)


def kept_until(view: SagaView) -> float | None:
    """``None`` while it goes on."""
    if view.started_at is not None and not view.ended:
        return None
    wrong = view.violations or view.status is SagaStatus.ATTENTION
    last = max(entry.time for entry in view.entries)
    return last + (WRONG_KEPT_S if wrong else ENDED_KEPT_S)


class Ends:
    """At most ``most`` sagas; of more, those are due whose time is the nearest."""

    def __init__(self, most: int) -> None:
        self._most = most
        #: ``None``: it goes on after all.
        self._until: dict[str, float | None] = {}
        #: Each of them once, perhaps with an earlier moment.
        self._heap: list[tuple[float, str]] = []

    def set(self, saga_id: str, until: float | None) -> None:
        if saga_id not in self._until:
            if until is None:
                return
            heappush(self._heap, (until, saga_id))
        self._until[saga_id] = until

    def due(self, now: float) -> Iterator[str]:
        """Those whose time is over, which leave."""
        while self._heap and (self._heap[0][0] < now or len(self._heap) > self._most):
            moment, saga_id = heappop(self._heap)
            until = self._until[saga_id]
            if until is not None and until > moment:  # it was heard of meanwhile
                heappush(self._heap, (until, saga_id))
                continue
            del self._until[saga_id]
            if until is not None:
                yield saga_id
