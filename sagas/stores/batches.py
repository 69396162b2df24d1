"""Group commit over a network: what came while one batch was away is the next batch.

Nothing ever waits for a batch to fill. One at a time goes out, so that a store that is slower than
its callers gets larger batches instead of more of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Batches"]

I = TypeVar("I")  # noqa: E741 - an item
O = TypeVar("O")  # noqa: E741 - what became of it

_Call = tuple[Sequence[I], "asyncio.Future[list[O]]"]


class Batches(Generic[I, O]):
    """Collects the items of concurrent calls; ``serve`` answers many, one answer each, in order.

    ``size``: items of one batch, unless a single call has more. ``waiting``: calls that may wait
    or be served; more await room. A ``ValueError`` fails only the call that brought it about.
    """

    def __init__(
        self,
        serve: Callable[[Sequence[I]], Awaitable[Sequence[O]]],
        *,
        size: int = 1_000,
        waiting: int = 1_000,
    ) -> None:
        self._serve = serve
        self._size = size
        self._room = asyncio.Semaphore(waiting)
        self._calls: list[_Call[I, O]] = []
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, items: Sequence[I]) -> list[O]:
        """The answers to ``items``. They are served also when the caller is cancelled meanwhile."""
        async with self._room:
            future: asyncio.Future[list[O]] = asyncio.get_running_loop().create_future()
            self._calls.append((items, future))
            if self._task is None:
                self._task = asyncio.create_task(self._run())
            return await future

    async def drained(self) -> None:
        """Return when everything that was taken is served."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            # One turn of the event loop: whatever else is ready right now comes along.
            await asyncio.sleep(0)
            while self._calls:
                await self._answer(self._next())
        finally:
            self._task = None
            for _, future in self._calls:  # only when the event loop is shutting down
                future.cancel()
            self._calls.clear()

    def _next(self) -> list[_Call[I, O]]:
        count = weight = 0
        for items, _ in self._calls:
            if count and weight + len(items) > self._size:
                break
            count, weight = count + 1, weight + len(items)
        batch, self._calls = self._calls[:count], self._calls[count:]
        return batch

    async def _answer(self, batch: list[_Call[I, O]]) -> None:
        try:
            answers = await self._serve([item for items, _ in batch for item in items])
        except ValueError as error:
            if len(batch) == 1:
                _tell(batch[0][1], error)
                return
            for call in batch:  # one bad call must not fail the others: each for itself
                await self._answer([call])
        except Exception as error:
            for _, future in batch:
                _tell(future, error)
        else:
            start = 0
            for items, future in batch:
                if not future.done():
                    future.set_result(list(answers[start : start + len(items)]))
                start += len(items)


def _tell(future: asyncio.Future[list[O]], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
