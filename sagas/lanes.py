"""Effects under way: each runs beside the worker and holds up only its own document."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from sagas.aggregate import Aggregate
from sagas.effects import attempt_with_retries
from sagas.errors import BrokerUnavailable, Retryable, StoreUnavailable
from sagas.intake import Intake
from sagas.job import Job, Slot
from sagas.ports import Clock, Ids
from sagas.reaction import Reaction

__all__ = ["Lanes"]

#: How long to wait when our own store or broker is away, or an inverse must be tried again.
OUTAGE_WAIT_S = 1.0


class Lanes:
    """One lane for each document with an effect under way; its later jobs wait there in order.

    ``finished(job)`` is called with the result in the job. Bounded by what the participant takes
    in: a lane's jobs are unacked deliveries and waiting commands.
    """

    def __init__(
        self, intake: Intake, clock: Clock, ids: Ids, finished: Callable[[Job], None]
    ) -> None:
        self._intake = intake
        self._clock = clock
        self._ids = ids
        self._finished = finished
        self._waiting: dict[Slot, deque[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.outages = 0

    def __contains__(self, slot: Slot) -> bool:
        return slot in self._waiting

    def __bool__(self) -> bool:
        return bool(self._tasks)

    def park(self, job: Job) -> bool:
        """Whether the job has to wait behind an effect (and now does)."""
        waiting = self._waiting.get(job.slot)
        if waiting is None:
            return False
        waiting.append(job)
        return True

    def open(self, slot: Slot) -> deque[Job]:
        """The effect is through: the jobs that waited behind it, in their order."""
        return self._waiting.pop(slot)

    def start(self, job: Job, aggregate: Aggregate, reaction: Reaction) -> None:
        """Run ``reaction`` for ``job`` on the document as it is now."""
        job.started_on = aggregate
        self._waiting[job.slot] = deque()
        task = asyncio.create_task(self._run(job, aggregate, reaction))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel what is under way."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: Job, aggregate: Aggregate, reaction: Reaction) -> None:
        async def call(attempt: int) -> Any:
            job.attempt = attempt
            now = self._clock.now()
            result = reaction.function(*self._intake.arguments(reaction, job, aggregate, now))
            # An undo or a last word may be a plain function, run here on behalf of its step.
            return await result if reaction.is_async else result

        while not job.finished:
            try:
                job.result = await attempt_with_retries(
                    call,
                    reaction.retry,
                    first_attempt=job.attempt,
                    clock=self._clock,
                    ids=self._ids,
                )
            except Exception as error:
                if self._goes_on(job, error):
                    await self._clock.sleep(OUTAGE_WAIT_S)
                    continue
                job.result = error
            job.finished = True
        self._finished(job)

    def _goes_on(self, job: Job, error: Exception) -> bool:
        """An outage of ours spends nobody's retries, and an inverse must come through."""
        outage = isinstance(error, StoreUnavailable | BrokerUnavailable)
        self.outages += outage
        must = job.inverse is not None and isinstance(error, Retryable)
        return (outage and job.future is None) or must
