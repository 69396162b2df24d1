"""Durable timers: what is due is stored with its document and found again after a restart.

Moments of the near future are kept in a heap, so that nothing polls in the fast path; a scan of the
store, now and then, brings in what lies further ahead or was left by an instance that died.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Sequence

from sagas.errors import StoreUnavailable
from sagas.ports import Clock, Store

__all__ = ["Deadlines"]

log = logging.getLogger(__name__)

Slot = tuple[str, str]  # collection, key


class Deadlines:
    """Calls ``fire(slots)`` when something of these documents is due, earliest first.

    Fair by construction: firing only queues a job, a reaction that fails comes back later by its
    backoff, and each document waits in a lane of its own.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        collections: Sequence[str],
        fire: Callable[[list[Slot]], None],
        *,
        scan_s: float = 30.0,
        page: int = 1_000,
    ) -> None:
        self._store = store
        self._clock = clock
        self._collections = tuple(collections)
        self._fire = fire
        self._scan_s = scan_s
        self._page = page
        self._heap: list[tuple[float, Slot]] = []
        #: The moment that is in the heap for a document: older entries are stale.
        self._known: dict[Slot, float] = {}
        self._horizon = 0.0
        #: Ends the wait for what is due next.
        self._alarm: asyncio.Future[None] | None = None

    def note(self, slot: Slot, due: float | None) -> None:
        """The stored due time of a document is now this."""
        if due is None:
            self._known.pop(slot, None)
            return
        if due > self._horizon or self._known.get(slot) == due:
            return  # far ahead: a scan finds it in time
        self._known[slot] = due
        heapq.heappush(self._heap, (due, slot))
        if self._heap[0][1] == slot and self._alarm is not None:
            _ring(self._alarm)

    async def run(self) -> None:
        """Fire what is due until cancelled."""
        next_scan = 0.0
        while True:
            now = self._clock.now()
            if now >= next_scan:
                complete = await self._scan(now)
                next_scan = now + (self._scan_s if complete else 1.0)
            self._fire_due(now)
            until = min(next_scan, self._heap[0][0]) if self._heap else next_scan
            # Wakes a little late rather than early: a timer must never find itself not yet due.
            wait_s = max(until - self._clock.now(), 0.0) + 0.001
            await self._wait(wait_s)

    async def _wait(self, seconds: float) -> None:
        """Until then, or until something is due earlier. (A timer: tasks for it showed.)"""
        loop = asyncio.get_running_loop()
        self._alarm = loop.create_future()
        timer = loop.call_later(seconds, _ring, self._alarm)
        try:
            await self._alarm
        finally:
            timer.cancel()

    def _fire_due(self, now: float) -> None:
        slots: list[Slot] = []
        while self._heap and self._heap[0][0] <= now:
            due, slot = heapq.heappop(self._heap)
            if self._known.get(slot) == due:
                del self._known[slot]
                slots.append(slot)
        if slots:
            self._fire(slots)

    async def _scan(self, now: float) -> bool:
        """Bring what is due before the scan after next into the heap; False: scan again soon."""
        self._horizon = now + 2 * self._scan_s
        complete = True
        for collection in self._collections:
            try:
                found = await self._store.due(collection, self._horizon, self._page)
            except StoreUnavailable as error:
                log.warning("timers wait: %s", error)
                return False
            for due, key in found:
                self.note((collection, key), due)
            complete = complete and len(found) < self._page
        return complete


def _ring(alarm: asyncio.Future[None]) -> None:
    if not alarm.done():
        alarm.set_result(None)
