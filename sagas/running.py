"""A choreography at work in this process, durable, without any server.

For programs of one process, and for a first look; services with routes of their own put the same
parts together as they need them (``Runner``, ``Tracker``, ``open_backends``).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sagas.envelope import event_type
from sagas.errors import DeclarationError
from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.runner import Runner
from sagas.system import SystemClock, SystemIds
from sagas.tracker import Tracker
from sagas.tracker.shapes import ListedSaga, SagaEvent
from sagas.wiring import open_backends

__all__ = ["Running"]


class Running:
    """All participants of a choreography, and its tracker. ::

        async with Running(trip, data_dir="trips", resources=resources()) as trips:
            saga_id = await trips.send(BookTrip(…))
            async for event in trips.events(saga_id):
                print(event["type"])

    What was under way when the process ended goes on when it runs again on the same ``data_dir``.
    ``resources`` gives, for each participant, what its reactions ask for, as for ``Runner``. A task
    of the engine that dies (a bug) cancels the body of ``async with`` and is raised there.
    """

    def __init__(
        self,
        choreography: Choreography,
        *,
        data_dir: Path | str = "data",
        resources: Mapping[str, Callable[[Runner], Mapping[type, object]]] | None = None,
        store_url: str = "sqlite:",
        broker_url: str = "embedded:",
    ) -> None:
        self.choreography = choreography
        self.runners: dict[str, Runner] = {}
        #: For lists, dead letters and operators' actions. There once this was entered.
        self.tracker: Tracker
        self._data_dir = Path(data_dir)
        self._resources = dict(resources or {})
        self._urls = (store_url, broker_url)
        self._ids = SystemIds()
        self._open = AsyncExitStack()
        self._body: asyncio.Task[Any] | None = None
        self._failure: BaseException | None = None
        self._verify()

    def _verify(self) -> None:
        names = [participant.name for participant in self.choreography.participants]
        for name in self._resources:
            if name not in names:
                raise DeclarationError(
                    f"resources are given for {name!r}, which is no participant of "
                    f"{self.choreography.name!r}: it has {', '.join(names)}"
                )

    async def __aenter__(self) -> Running:
        self._body = asyncio.current_task()
        async with AsyncExitStack() as opening:
            await self._start(opening)
            self._open = opening.pop_all()
        return self

    async def _start(self, opening: AsyncExitStack) -> None:
        clock, name = SystemClock(), self.choreography.name
        backends = open_backends(*self._urls, self._data_dir, name=name)
        opening.push_async_callback(backends.close)
        self.tracker = Tracker(
            self.choreography,
            store=backends.store("tracker"),
            broker=backends.broker,
            clock=clock,
            ids=self._ids,
            alone=backends.alone,
        )
        for participant in self.choreography.participants:
            self.runners[participant.name] = Runner(
                participant,
                store=backends.store(participant.name),
                broker=backends.broker,
                clock=clock,
                ids=self._ids,
                resources=self._resources.get(participant.name),
                alone=backends.alone,
            )
        await backends.broker.open(self.choreography.queues(*self.tracker.participants))
        opening.push_async_callback(self._stop)
        for runner in (*self.tracker.runners, *self.runners.values()):
            runner.failed.add_done_callback(self._fail)
            await runner.start()

    async def _stop(self) -> None:
        await asyncio.gather(*(runner.stop() for runner in self.runners.values()))
        await self.tracker.stop()

    def _fail(self, failed: asyncio.Future[None]) -> None:
        if self._failure is None and not failed.cancelled():
            self._failure = failed.exception()
            if self._body is not None:
                self._body.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: Any
    ) -> None:
        await self._open.aclose()
        if self._failure is not None and kind is asyncio.CancelledError:
            if self._body is not None:
                self._body.uncancel()
            raise self._failure

    # ------------------------------------------------------------------------------ using it

    async def send(self, command: BaseModel, saga_id: str | None = None) -> str:
        """Have a command decided by the participant that takes it; the id of its saga.

        Without a ``saga_id`` it starts a new saga. Returns once the decision is durable. Raises
        what ``Runner.execute`` raises: ``CommandRefused`` when the domain says no.
        """
        saga_id = self._ids.new() if saga_id is None else saga_id
        runner = self.runners[self._taker(type(command)).name]
        await runner.execute(runner.participant.saga, saga_id, command)
        return saga_id

    def _taker(self, command: type[BaseModel]) -> Participant[Any]:
        participants = self.choreography.participants
        takers = [each for each in participants if command in each.saga.reactions]
        if len(takers) != 1:
            names = ", ".join(each.name for each in takers) or "nobody"
            raise DeclarationError(
                f"{event_type(command)} is taken by {names}: `send` is for a command that one "
                f"participant of {self.choreography.name!r} takes on the saga's own document"
            )
        return takers[0]

    async def state(self, participant: str, saga_id: str) -> Any | None:
        """What a participant keeps of a saga; ``None``: nothing, or not yet."""
        runner = self.runners[participant]
        return await runner.get(runner.participant.saga, saga_id)

    async def events(self, saga_id: str) -> AsyncGenerator[SagaEvent, None]:
        """The saga's events as they come, until it has ended."""
        await self.tracker.view_soon(saga_id)
        async for event in self.tracker.events(saga_id):
            yield event

    async def saga(self, saga_id: str) -> ListedSaga | None:
        """Where the saga stands, as the tracker shows it; ``None``: nothing was heard of it."""
        await self.tracker.view_soon(saga_id)
        return await self.tracker.saga(saga_id)
