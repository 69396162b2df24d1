"""Who waits for a document to change: a held answer, a live stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from sagas.job import Slot

__all__ = ["Watchers", "pauses"]

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


def pauses() -> Iterator[float]:
    """How long to wait for a watcher before the store is asked, which another instance may have
    written: always as long again as so far, up to a second. What happens soon is seen soon, and
    whoever waits for long costs little.
    """
    pause = FIRST_PAUSE_S
    while True:
        yield pause
        pause = min(2 * pause, LONGEST_PAUSE_S)


class Watchers:
    """Futures by document, each with what its owner wants to see. Bounded by who waits."""

    def __init__(self) -> None:
        self._waiting: dict[Slot, dict[asyncio.Future[Any], Callable[[Any], bool]]] = {}

    def add(self, slot: Slot, wanted: Callable[[Any], bool]) -> asyncio.Future[Any]:
        """Done with the first state that is ``wanted``. Cancel it when it is not needed."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(slot, {})[future] = wanted
        future.add_done_callback(lambda done: self._drop(slot, done))
        return future

    def tell(self, slot: Slot, state: Any) -> None:
        """The document was written and is now this."""
        for watcher, wanted in list(self._waiting.get(slot, {}).items()):
            if not watcher.done() and wanted(state):
                watcher.set_result(state)

    async def until(
        self,
        slot: Slot,
        wanted: Callable[[Any], bool],
        *,
        look: Callable[[float], Awaitable[Any]],
        within_s: float,
        stopping: asyncio.Event | None,
    ) -> Any | None:
        """See ``Runner.until``. ``look`` reads what was stored at most so many seconds ago."""
        loop = asyncio.get_running_loop()
        end, age, pause = loop.time() + within_s, LONGEST_PAUSE_S, pauses()
        changed = self.add(slot, wanted)
        try:
            while True:
                # Watching already: nothing can happen unseen between this look and the wait.
                state = await look(age)
                if wanted(state):
                    return state
                left = end - loop.time()
                if left <= 0 or (stopping is not None and stopping.is_set()):
                    return None
                done, _ = await asyncio.wait({changed}, timeout=min(next(pause), left))
                if done:
                    return changed.result()
                age = 0.0
        finally:
            changed.cancel()

    def _drop(self, slot: Slot, future: asyncio.Future[Any]) -> None:
        waiting = self._waiting.get(slot)
        if waiting is not None:
            waiting.pop(future, None)
            if not waiting:
                del self._waiting[slot]
