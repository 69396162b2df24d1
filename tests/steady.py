"""An event loop for real sockets and processes on which a slow machine makes nothing late.

On asyncio's own loop a test fails by its time limits whenever its process is held up: somebody
else had the processor, the machine was paused, the timer is due before what came in meanwhile is
looked at. Here time is what the loop has spent *waiting*: work counts as next to nothing, however
long it took, and a wait that was held up counts as long as was asked for. Its time never runs
ahead of the wall clock, so whatever is to happen after so many seconds has really had them.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import Any

__all__ = ["SteadyLoop"]

#: A wait is counted in pieces of so much: as long as that, one that was held up seems at most.
PIECE_S = 0.05
#: What a turn of the loop counts beside waiting. It is not nothing, so that time moves on for a
#: test that asks again and again without waiting.
TURN_S = 0.0001


class _SteadySelector(selectors.BaseSelector):
    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self._left_at = time.monotonic()
        self.now = self._left_at

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += min(time.monotonic() - self._left_at, TURN_S)
        ready = self._wait(timeout)
        self._left_at = time.monotonic()
        return ready

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Until something is there, or the time is over: never both, so that what came is looked
        at before a limit on waiting for it strikes."""
        left = float("inf") if timeout is None else max(timeout, 0.0)
        while True:
            piece = min(left, PIECE_S)
            began = time.monotonic()
            ready = self._real.select(piece)
            if ready:
                self.now += min(time.monotonic() - began, 0.9 * piece)
                return ready
            self.now += piece
            left -= piece
            if left <= 0.0:
                return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class SteadyLoop(asyncio.SelectorEventLoop):
    """``time()`` counts waiting, and hardly anything else."""

    def __init__(self) -> None:
        self._steady = _SteadySelector()
        super().__init__(self._steady)

    def time(self) -> float:
        return self._steady.now
