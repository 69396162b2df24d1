"""The loop of a simulated world: virtual time, nothing outside that could wake it, and little else.

A world is thousands of moments in a few milliseconds, so half of its time went into the machinery
that real loops need for sockets, signals, threads and slow callbacks. None of that is here.
"""

from __future__ import annotations

import asyncio
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

__all__ = ["WorldLoop"]

T = TypeVar("T")
Callback = Callable[..., object]


class _Call(list[Any]):
    """A callback to come, as ``[context, callback, arguments]``; emptied when it is cancelled.

    Stands for ``asyncio.Handle``, which takes three times as long to make.
    """

    __slots__ = ()

    def cancel(self) -> None:
        self.clear()

    def cancelled(self) -> bool:
        return not self


class WorldLoop(asyncio.AbstractEventLoop):
    """What tasks, futures, ``sleep`` and ``timeout`` need of a loop, and no more: whoever asks for
    a socket, a thread or a process inside a world hears ``NotImplementedError``.

    ``failed(error)`` hears of callbacks that raised. Tasks are made by ``make_task``.
    """

    def __init__(self) -> None:
        #: Virtual seconds since the world's beginning.
        self.now = 0.0
        self.failed: Callable[[Exception], None] = _raise
        self.make_task: Callable[..., asyncio.Task[Any]] = asyncio.Task
        self._ready: deque[_Call] = deque()
        #: ``(when, number, callback, arguments)``: the number keeps the order within one moment.
        self._timers: list[tuple[float, int, Callback, tuple[Any, ...]]] = []
        self._made = 0
        self._running = False
        # Every future asks: `bool()` is the quickest way to say no.
        self.get_debug = bool  # type: ignore[method-assign]

    # ------------------------------------------------------------------------------- scheduling

    def time(self) -> float:
        return self.now

    def call_soon(  # type: ignore[override]  # a _Call is all that anybody needs of a Handle
        self, callback: Callback, *arguments: Any, context: Context | None = None
    ) -> _Call:
        if context is None:  # never `context or …`: an empty one is false
            context = copy_context()
        call = _Call((context, callback, arguments))
        self._ready.append(call)
        return call

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callback, *arguments: Any, context: Context | None = None
    ) -> _Call:
        call = _Call((copy_context() if context is None else context, callback, arguments))
        self.at(when, self._ready.append, call)
        return call

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callback, *arguments: Any, context: Context | None = None
    ) -> _Call:
        return self.call_at(self.now + delay, callback, *arguments, context=context)

    def at(self, when: float, callback: Callback, *arguments: Any) -> None:
        """As ``call_at``, for the world's own servers: in no context, and never cancelled."""
        self._made = number = self._made + 1
        heappush(self._timers, (when, number, callback, arguments))

    def after(self, delay: float, callback: Callback, *arguments: Any) -> None:
        """``at``, counted from now."""
        self._made = number = self._made + 1
        heappush(self._timers, (self.now + delay, number, callback, arguments))

    def pause(self, seconds: float) -> asyncio.Future[None]:
        """Done in so many seconds."""
        done: asyncio.Future[None] = asyncio.Future(loop=self)
        self.after(seconds, _finish, done)
        return done

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, work: Coroutine[Any, Any, T], *, name: object = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        return self.make_task(work, loop=self, name=name, context=context)

    # ---------------------------------------------------------------------------------- running

    def run_until_complete(self, main: Coroutine[Any, Any, T]) -> T:  # type: ignore[override]
        task = self.create_task(main)
        outer = events._get_running_loop()
        events._set_running_loop(self)
        self._running = True
        try:
            while self._fails(task):
                pass
        finally:
            self._running = False
            events._set_running_loop(outer)
        if not task.done():
            raise RuntimeError("deadlock: every task waits and no timer is set")
        return task.result()

    def _fails(self, task: asyncio.Task[Any]) -> bool:
        """Whether a callback raised before there was nothing left to do."""
        try:
            self._run(task)
        except Exception as error:
            self.failed(error)
            return True
        return False

    def _run(self, task: asyncio.Task[Any]) -> None:
        """Until ``task`` is done, or nothing is left to do; or until a callback raises."""
        ready, timers, done = self._ready, self._timers, task.done
        next_call = ready.popleft
        while True:
            while ready:
                if call := next_call():
                    context, callback, arguments = call
                    context.run(callback, *arguments)
            if done() or not timers:
                return
            when = timers[0][0]
            if when > self.now:
                self.now = when
            # All that happens at one moment, then whatever it led to.
            while timers and timers[0][0] <= when:
                _, _, callback, arguments = heappop(timers)
                callback(*arguments)

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What asyncio would log: tasks and futures whose errors nobody fetched. The participants'
        own are supervised, and a crash leaves many behind on purpose."""


def _finish(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def _raise(error: Exception) -> None:
    raise error
