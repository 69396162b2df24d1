"""Who waits for a document to change: a held answer, a live stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sagas.job import Slot

__all__ = ["Watchers"]


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

    def _drop(self, slot: Slot, future: asyncio.Future[Any]) -> None:
        waiting = self._waiting.get(slot)
        if waiting is not None:
            waiting.pop(future, None)
            if not waiting:
                del self._waiting[slot]
