"""Commands on their way in: jobs whose caller waits, and is never kept waiting for ever."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from pydantic import BaseModel

from sagas.envelope import Message, event_type, event_version
from sagas.errors import Permanent, StoreUnavailable
from sagas.job import Job, Reply
from sagas.kind import Kind
from sagas.ports import Clock, Ids

__all__ = ["TIME_LIMIT_S", "Commands"]

#: What was not written by then is answered; whether it will be is then unknown.
TIME_LIMIT_S = 10.0


class Commands:
    """Makes the jobs of one participant's commands, and ends those that wait too long."""

    def __init__(self, participant: str, clock: Clock, ids: Ids) -> None:
        self._participant = participant
        self._clock = clock
        self._ids = ids
        self._closed = False
        #: By the loop time at which they have waited long enough: all wait equally long.
        self._waiting: deque[tuple[float, Job]] = deque()

    def job(
        self,
        kind: Kind[Any],
        key: str,
        trigger: BaseModel,
        *,
        id: str | None = None,
        saga_id: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        first: bool = False,
    ) -> Job:
        """The job of one command; its future is the caller's answer."""
        if self._closed:
            raise StoreUnavailable(f"{self._participant} has stopped")
        reaction = kind.reactions.get(type(trigger))
        if reaction is None:
            raise Permanent(f"{kind.name} has no reaction to {type(trigger).__name__}")
        message = Message(
            id=id or self._ids.new(),
            type=event_type(type(trigger)),
            version=event_version(type(trigger)),
            source=f"/{self._participant}",
            subject=key,
            saga_id=key if kind.by_saga else saga_id,
            time=self._clock.now(),
            request_id=request_id,
            traceparent=traceparent,
            event=trigger,
        )
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        job = Job(kind, key, message, reaction, trigger, future=future, remember=id is not None)
        # What reaches outside, or insists on a document, has to look.
        job.first = first and not reaction.is_async and not reaction.needs_state
        self._waiting.append((loop.time() + TIME_LIMIT_S, job))
        return job

    async def limit(self) -> None:
        """Answer commands that have waited too long, until cancelled.

        One look a second instead of a timer for each of thousands of commands a second.
        """
        while True:
            await self._clock.sleep(1.0)
            now = asyncio.get_running_loop().time()
            while self._waiting and (self._waiting[0][0] <= now or self._waiting[0][1].is_answered):
                _, job = self._waiting.popleft()
                late = f"{job.message.type} was not written within {TIME_LIMIT_S:g} s"
                job.fail(StoreUnavailable(late))

    def close(self) -> None:
        """Nothing is decided any more: tell those who still wait, and whoever comes later."""
        self._closed = True
        while self._waiting:
            _, job = self._waiting.popleft()
            job.fail(StoreUnavailable(f"{self._participant} has stopped"))
