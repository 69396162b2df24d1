"""What reactions reach outside through, on a bad day: down, late, or done without an answer."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any

from sagas.errors import Retryable, SagaError
from sagas.simulate.network import Network
from sagas.simulate.process import Down, Life, Process
from sagas.simulate.schedule import FaultKind

__all__ = ["LateCalls", "UnreliablePort"]

#: How long a caller waits for an answer that does not come in time.
PATIENCE_S = 0.1
#: A late call is done within so many seconds.
LATEST_S = 5.0

Call = Callable[[object], Coroutine[Any, Any, Any]]


class UnreliablePort:
    """Stands in front of a resource; every asynchronous method of it may fail, before or after."""

    def __init__(self, wanted: type, inner: Any, life: Life, late: LateCalls) -> None:
        self._wanted = wanted
        self._inner = inner
        self._life = life
        self._late = late

    def __getattr__(self, name: str) -> Any:
        if not inspect.iscoroutinefunction(getattr(self._inner, name)):
            return getattr(self._inner, name)
        call = self._around(name)
        setattr(self, name, call)
        return call

    def _around(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        life, process, method = self._life, self._life.process, getattr(self._inner, name)

        async def call(*arguments: Any, **named: Any) -> Any:
            fate = await life.pass_by("before effect") if life.hindered else None
            if process.ports_down or fate is FaultKind.REQUEST_LOST:
                raise Retryable("the simulated port is down; it is tried again")
            if process.ports_late or fate is FaultKind.REQUEST_LATE:
                again = (self._wanted, lambda port: getattr(port, name)(*arguments, **named))
                self._late.begin(process, name, *again)
                await process.loop.pause(PATIENCE_S)
                raise Retryable("the simulated port did not answer in time; its key tells")
            result = await method(*arguments, **named)
            process.note("calls", name, *(each for each in arguments if isinstance(each, str)))
            if life.hindered:
                await life.pass_by("after effect")
            if fate is FaultKind.ANSWER_LOST:
                raise Retryable("the simulated port did not answer; its key tells what it did")
            return result

        return call


class LateCalls:
    """Calls that are done long after their callers gave up, and even after these crashed."""

    def __init__(self, network: Network, died: Callable[[str, BaseException], None]) -> None:
        self._network = network
        self._died = died
        self._context = copy_context()  # nobody's: no crash ends them
        self._under_way: set[asyncio.Task[None]] = set()

    @property
    def quiet(self) -> bool:
        return not self._under_way

    def begin(self, process: Process, name: str, wanted: type, call: Call) -> None:
        """Have it done by whoever then is this process."""
        work = self._do(process, name, wanted, call, self._network.draw() * LATEST_S)
        task = self._context.run(process.loop.create_task, work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._died("a late call", error)

    async def _do(
        self, process: Process, name: str, wanted: type, call: Call, late_s: float
    ) -> None:
        await process.loop.pause(late_s)
        while True:
            try:
                await process.call(lambda life: call(life.ports[wanted]))
            except Down:
                await process.loop.pause(PATIENCE_S)
                continue
            except SagaError:
                pass  # refused, or the other side is down: nobody listens
            process.note("late", name)
            return

    async def end(self) -> None:
        """Do no more."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
