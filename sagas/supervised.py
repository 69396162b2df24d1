"""Tasks that go on until they are cancelled, and whose death nobody overlooks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

__all__ = ["Supervised"]

log = logging.getLogger(__name__)


class Supervised:
    """The tasks of one owner, by name. Made within the event loop that they run in.

    ``failed`` ends with the exception when one of them died: that is a bug, and should end the
    process.
    """

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def keep(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Run it under this name."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        self._tasks[name] = task

    def cancel(self, name: str) -> None:
        """Tell one to end, if there is one of this name; ``close`` awaits it."""
        if name in self._tasks:
            self._tasks[name].cancel()

    async def close(self) -> None:
        """End all of them. What they died of is in ``failed``."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s died", task.get_name(), exc_info=error)
            if not self.failed.done():
                self.failed.set_exception(error)
