"""What reactions reach outside through, on a bad day: down, or done without an answer."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from sagas.errors import Retryable
from sagas.simulate.process import Life
from sagas.simulate.schedule import FaultKind

__all__ = ["UnreliablePort"]


class UnreliablePort:
    """Stands in front of a resource; every asynchronous method of it may fail, before or after."""

    def __init__(self, inner: object, life: Life) -> None:
        self._inner = inner
        self._life = life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if not inspect.iscoroutinefunction(method):
            return method
        call = self._around(name, method)
        setattr(self, name, call)
        return call

    def _around(
        self, name: str, method: Callable[..., Awaitable[Any]]
    ) -> Callable[..., Awaitable[Any]]:
        life, process = self._life, self._life.process

        async def call(*arguments: Any, **named: Any) -> Any:
            fate = life.reach("before effect")
            if life.held_up:
                await life.go_on()
            if process.ports_down or fate is FaultKind.REQUEST_LOST:
                raise Retryable("the simulated port is down; it is tried again")
            result = await method(*arguments, **named)
            process.note("calls", name, *(each for each in arguments if isinstance(each, str)))
            life.reach("after effect")
            if life.held_up:
                await life.go_on()
            if fate in (FaultKind.ANSWER_LOST, FaultKind.REQUEST_LATE):
                raise Retryable("the simulated port did not answer; its key tells what it did")
            return result

        return call
