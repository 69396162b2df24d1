"""How often something happened lately, in memory that does not grow with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["SlidingCount"]

SLOTS = 10


class SlidingCount:
    """Counts over the last ``window_s`` seconds of the event loop's (monotonic) time.

    The window slides in tenths: it is never longer than ``window_s``, and at most a tenth shorter.
    """

    __slots__ = ("_counts", "_newest", "_slot_s", "_time", "window_s")

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self._slot_s = window_s / SLOTS
        self._counts = [0] * SLOTS
        self._newest = 0
        #: The loop's clock, from the first use on: asking which loop runs costs more than counting.
        self._time: Callable[[], float] | None = None

    def add(self, count: int = 1) -> None:
        self._slide()
        self._counts[self._newest % SLOTS] += count

    def total(self) -> int:
        """How often within the window."""
        self._slide()
        return sum(self._counts)

    def per_s(self) -> float:
        """The same as a rate."""
        return self.total() / self.window_s

    def clear(self) -> None:
        self._counts = [0] * SLOTS

    def _slide(self) -> None:
        """Forget the slots that time has left behind."""
        if self._time is None:
            self._time = asyncio.get_running_loop().time
        now = int(self._time() / self._slot_s)
        if now == self._newest:
            return
        if now - self._newest >= SLOTS:
            self.clear()
        else:
            for passed in range(self._newest + 1, now + 1):
                self._counts[passed % SLOTS] = 0
        self._newest = now
