"""A simulated process: what its tasks are, where it can be stopped, and how it comes back.

Whatever is started while a process's code runs belongs to it: tasks take their *life* (one stretch
between a start and a crash) from the context that they were made in. A crash cancels them all in
the same instant; only the stores and the broker's queues remain.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar

from sagas.simulate.loop import WorldLoop
from sagas.simulate.schedule import STEP, Fault, FaultKind
from sagas.testing.virtual import EPOCH

__all__ = ["Down", "Life", "Process", "ProcessClock", "own_tasks"]

T = TypeVar("T")
Note = Callable[..., None]

_life: ContextVar[Life | None] = ContextVar("life", default=None)

#: Ended tasks are swept out when so many are listed.
MANY_TASKS = 64


class Down(Exception):
    """The process is not there, or died over the call."""


def own_tasks(work: Coroutine[Any, Any, T], **more: Any) -> asyncio.Task[T]:
    """How a world's loop makes tasks: each belongs to the life in whose context it is made."""
    life = _life.get()
    if life is None:
        return asyncio.Task(work, **more)
    if life.process.counts_steps:
        work = _Steps(work, life)
    task = asyncio.Task(work, **more)
    life.adopt(task)
    return task


class _Steps(Coroutine[Any, Any, T]):
    """Counts each time a coroutine goes on after an await: any of them may be its last."""

    def __init__(self, work: Coroutine[Any, Any, T], life: Life) -> None:
        self._work = work
        self._life = life

    def send(self, value: Any) -> Any:
        if self._life.alive:
            self._life.reach(STEP)
            if not self._life.alive:
                return self._work.throw(asyncio.CancelledError())
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        return self._work.throw(*error)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:
        return self._work.__await__()


class ProcessClock:
    """The ``Clock`` of one process: virtual time, and a distance from it that faults may move."""

    def __init__(self, loop: WorldLoop, skew_s: float) -> None:
        self.skew_s = skew_s
        self._loop = loop

    def now(self) -> float:
        return EPOCH + self._loop.now + self.skew_s

    async def sleep(self, seconds: float) -> None:
        await self._loop.pause(seconds)


class Life:
    """One stretch of a process between its start and its crash."""

    def __init__(self, process: Process, number: int) -> None:
        self.process = process
        self.number = number
        self.alive = True
        #: False while nothing can befall this life at the points that it passes: it need not look.
        self.hindered = (
            process.counts_points
            or bool(process.waiting_faults)
            or process.stalled_until > process.loop.now
        )
        #: Called when it ends: connections are cut.
        self.endings: list[Callable[[], None]] = []
        self.parts: dict[str, Any] = {}
        #: What its reactions reach outside through, by the type that they ask for.
        self.ports: dict[type, object] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self._context = copy_context()
        self._context.run(_life.set, self)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        if len(self._tasks) > MANY_TASKS:
            self._tasks = [each for each in self._tasks if not each.done()]
        self._tasks.append(task)
        if not self.alive:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run ``work`` as this process."""
        return self._context.run(self.process.loop.create_task, work)

    def reach(self, point: str) -> FaultKind | None:
        """Pass a point; what is to befall the call there. The process may be dead afterwards."""
        process = self.process
        process.reached[point] = nth = process.reached[point] + 1
        if (point, nth) not in process.waiting_faults:
            return None
        fault = process.waiting_faults.pop((point, nth))
        process.note(fault.kind.value, point, f"#{nth}")
        if fault.kind is FaultKind.CRASH_AT:
            process.crash(fault.for_s)
        elif fault.kind is FaultKind.STALL_AT:
            process.stall(fault.for_s)
        return fault.kind

    async def pass_by(self, point: str) -> FaultKind | None:
        """``reach``, and stay there if the process was stopped, or stalls."""
        fate = self.reach(point)
        await self.go_on()
        return fate

    async def go_on(self) -> None:
        """Where a process that was stopped, or stalls, gets no further."""
        loop = self.process.loop
        if not self.alive:
            await loop.create_future()
        if self.process.stalled_until > loop.now:
            await loop.pause(self.process.stalled_until - loop.now)

    def end(self) -> None:
        """Everything at once; whoever runs now gets as far as its next await."""
        self.alive, self.hindered = False, True
        for task in self._tasks:
            task.cancel()
        for cut in self.endings:
            cut()

    @property
    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that have not ended."""
        return [each for each in self._tasks if not each.done()]


class Process:
    """Runs ``boot`` in each of its lives. ``skew_s``: its clock's distance from virtual time.

    ``counts_points``, ``counts_steps``: it counts in ``reached`` how often it passes each point,
    and how often a task goes on after an await.
    """

    def __init__(
        self,
        name: str,
        participant: str,
        loop: WorldLoop,
        *,
        skew_s: float,
        prefetch: int,
        boot: Callable[[Life], Awaitable[None]],
        note: Note,
        counts_points: bool = False,
        counts_steps: bool = False,
    ) -> None:
        self.name = name
        self.participant = participant
        self.loop = loop
        self.clock = ProcessClock(loop, skew_s)
        self.prefetch = prefetch
        self.life: Life | None = None
        #: All of them: the last one, and those that crashed.
        self.lives: list[Life] = []
        self.ready = False
        self.counts_points = counts_points
        self.counts_steps = counts_steps
        self.reached: Counter[str] = Counter()
        self.waiting_faults: dict[tuple[str, int], Fault] = {}
        self.stalled_until = 0.0
        self.ports_down = 0
        self.ports_late = 0
        self._boot = boot
        self._note = note

    @property
    def crashes(self) -> int:
        return len(self.lives) - (self.life is not None)

    def note(self, what: str, *details: object) -> None:
        self._note(self.name, what, *details)

    def start(self) -> None:
        """Begin a life, unless one is under way."""
        if self.life is not None:
            return
        self.life = life = Life(self, len(self.lives) + 1)
        self.lives.append(life)
        self.note("starts")
        life.spawn(self._run(life))

    async def _run(self, life: Life) -> None:
        await self._boot(life)
        self.ready = True

    def stall(self, for_s: float) -> None:
        """Answer nobody for a while, then go on as if nothing had been."""
        self.stalled_until = max(self.stalled_until, self.loop.now + for_s)
        if self.life is not None:
            self.life.hindered = True

    def crash(self, for_s: float) -> None:
        """End at once, start again ``for_s`` later."""
        life = self.life
        if life is None:
            return
        self.life, self.ready = None, False
        self.note("crashes")
        life.end()
        self.loop.after(for_s, self.start)

    def stop(self) -> None:
        """End for good: the world is over."""
        if self.life is not None:
            self.life.end()

    async def call(self, work: Callable[[Life], Coroutine[Any, Any, T]]) -> T:
        """A request from outside. ``Down``: nobody answers, whatever became of it."""
        life = self.life
        if life is None or not self.ready:
            raise Down(self.name)
        task = life.spawn(work(life))
        await asyncio.wait([task])
        if task.cancelled():
            raise Down(self.name)
        return task.result()
