"""The insight of one process: the tracker's own views, summed as they are stored.

The tracker folds every event anyway, once. Here each saga that it stored is noted, which costs next
to nothing, and summed a moment later: what a saga adds is a function of its view (``marks_of``,
``row_of``), so it does not matter how many of its events came in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from sagas.insight.business import Business
from sagas.insight.marks import MINUTE_S, between, marks_of
from sagas.insight.rows import Row, row_of
from sagas.insight.sums import KEPT_S, Sums, add, sums_of
from sagas.ports import Clock
from sagas.tracker import Plan, SagaView

__all__ = ["InProcess"]

#: Sagas whose sums may still change; of older ones an event counts as forgotten.
MOST_KEPT: Final = 100_000
#: Sagas that wait to be summed; with more than that, noting one sums another.
MOST_NOTED: Final = 20_000
#: Summing goes on in small pieces, so that whoever else runs here hardly notices.
PIECE: Final = 25
PAUSE_S: Final = 0.1


class InProcess:
    """Sums for one tracker. ``saw`` hears of every view that is stored; ``run`` sums them."""

    def __init__(
        self, plan: Plan, business: Business, clock: Clock, *, most_kept: int = MOST_KEPT
    ) -> None:
        self._plan = plan
        self._business = business
        self._clock = clock
        self._most_kept = most_kept
        self._noted: dict[str, SagaView] = {}
        #: How many events of a saga are summed, the first ones to arrive.
        self._summed: dict[str, int] = {}
        self._rows: dict[str, Row] = {}
        self._minutes: dict[int, dict[str, int]] = {}
        #: Ids are UUIDv7, ordered by time: no saga above this one was forgotten.
        self._forgotten_up_to = ""
        #: Changes of sagas that were not kept any more.
        self.forgotten = 0

    def saw(self, saga_id: str, view: SagaView) -> None:
        """A view was stored."""
        self._noted[saga_id] = view
        if len(self._noted) > MOST_NOTED:
            self._sum_next()

    async def run(self, past: AsyncIterator[tuple[str, SagaView]]) -> None:
        """Sum for ever; first what was stored before this process began, the newest first."""
        async for saga_id, view in past:
            if saga_id not in self._noted and saga_id not in self._summed:
                self._sum(saga_id, view)
                if len(self._summed) % PIECE == 0:
                    await self._clock.sleep(PAUSE_S)
            if len(self._summed) >= self._most_kept:
                break
        # The oldest are forgotten first.
        self._summed = dict(sorted(self._summed.items()))
        while True:
            self._sum_some()
            await self._clock.sleep(PAUSE_S)

    async def sums(self) -> Sums:
        """The sums of all that was seen so far."""
        while self._noted:
            self._sum_some()
            await asyncio.sleep(0)
        return sums_of(self._rows.items(), self._minutes.items(), self._clock.now())

    def _sum_some(self) -> None:
        for _ in range(min(PIECE, len(self._noted))):
            self._sum_next()

    def _sum_next(self) -> None:
        saga_id = next(iter(self._noted))
        self._sum(saga_id, self._noted.pop(saga_id))

    def _sum(self, saga_id: str, view: SagaView) -> None:
        summed = self._summed.get(saga_id, 0)
        if not summed and saga_id <= self._forgotten_up_to:
            self.forgotten += 1
            return
        row = row_of(view, self._plan, self._business)
        if row is not None and row.is_open:
            self._rows[saga_id] = row
        else:
            self._rows.pop(saga_id, None)
        if len(view.entries) <= summed:
            return
        old = marks_of(view.entries[:summed], self._plan, self._business)
        new = marks_of(view.entries, self._plan, self._business)
        self._summed[saga_id] = len(view.entries)
        for minute, change in between(old, new).items():
            add(self._minutes.setdefault(minute, {}), change)
        self._forget()

    def _forget(self) -> None:
        now = self._clock.now()
        while len(self._summed) > self._most_kept:
            oldest = next(iter(self._summed))
            del self._summed[oldest]
            self._rows.pop(oldest, None)
            # A forged id may stand above all that are to come: it says nothing about the others.
            if oldest <= _newest_id(now):
                self._forgotten_up_to = max(self._forgotten_up_to, oldest)
        if len(self._minutes) > KEPT_S // MINUTE_S:
            # By the clock: one forged event from the future must not push out all others.
            kept = range(int(now - KEPT_S), int(now + KEPT_S))
            self._minutes = {m: counts for m, counts in self._minutes.items() if m in kept}


def _newest_id(now: float) -> str:
    """No UUIDv7 that was made by now stands above this."""
    stamp = f"{int(now * 1000):012x}"
    return f"{stamp[:8]}-{stamp[8:]}-~"
