"""One world, from its start to its end: plays a schedule and checks what must hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sagas.simulate.clients import Clients
from sagas.simulate.deployment import Deployment, trackers
from sagas.simulate.loop import WorldLoop
from sagas.simulate.process import own_tasks
from sagas.simulate.schedule import Schedule
from sagas.simulate.strikes import Strikes
from sagas.simulate.trace import Trace
from sagas.simulate.truth import Truth
from sagas.simulate.watch import Watch
from sagas.simulate.world import World
from sagas.testing.virtual import EPOCH

__all__ = ["Result", "play", "silence"]

LOOK_EVERY_S = 0.15
#: How long nothing may happen before a world counts as over.
QUIET_S = 0.3
#: What is due so soon is waited for.
SOON_S = 10.0


@dataclass(frozen=True, slots=True)
class Result:
    """``problems`` is empty when everything held. ``lasted_s`` is virtual time."""

    schedule: Schedule
    problems: tuple[str, ...]
    #: Empty unless it was asked for.
    trace: Trace
    lasted_s: float
    #: How often each process reached each point: only where it was counted, for sweeps.
    reached: dict[str, dict[str, int]]
    crashes: int

    @property
    def failed(self) -> bool:
        return bool(self.problems)


def play(
    world: World,
    schedule: Schedule,
    *,
    traced: bool = True,
    counted: bool = False,
    tidied: bool = True,
    to_its_end: bool = False,
) -> Result:
    """Play a schedule. The same schedule on the same code gives the same result.

    ``traced``: tell what happens. ``counted``: count how often each point is reached. ``tidied``:
    end what the world began, unless this process ends with it. None of them changes what happens.
    ``to_its_end``: what is found broken does not end the world.
    """
    loop = WorldLoop()  # type: ignore[abstract]  # what it has not raises NotImplementedError
    with silence():
        simulation = Simulation(
            world, schedule, loop, traced=traced, counted=counted, to_its_end=to_its_end
        )
        result = loop.run_until_complete(simulation.play())
        if tidied:
            loop.run_until_complete(simulation.end())
    return result


@contextmanager
def silence() -> Iterator[None]:
    """A world full of faults logs thousands of warnings; the trace tells it better."""
    before = logging.root.manager.disable
    if before >= logging.CRITICAL:
        yield  # changing it is slow, and whoever plays many has done so
        return
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class Simulation:
    """A world at work."""

    def __init__(
        self,
        world: World,
        schedule: Schedule,
        loop: WorldLoop,
        *,
        traced: bool,
        counted: bool,
        to_its_end: bool,
    ) -> None:
        self._world = world
        self._schedule = schedule
        self._loop = loop
        running = world.running(schedule.seed)
        self._truth = Truth(world.choreography, [*running, *trackers(world.choreography)])
        self._truth.saga_ids = [script.saga_id for script in schedule.scripts]
        names = {saga_id: f"saga-{n}" for n, saga_id in enumerate(self._truth.saga_ids, 1)}
        self._watch = Watch(
            self._truth,
            Trace([], names),
            world.all_invariants,
            loop,
            traced=traced,
            alarm=(lambda: None) if to_its_end else self._end,
        )
        #: Done when the world is over.
        self._over: asyncio.Future[None] = loop.create_future()
        loop.make_task = own_tasks
        loop.failed = lambda error: self._watch.died("a callback", error)
        self._deployment = Deployment(world, schedule, running, loop, self._watch, counted=counted)
        self._clients = Clients(
            self._deployment, self._truth, loop, self._watch.note, self._watch.died
        )

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def play(self) -> Result:
        """From the first start to the end of everything that was asked for."""
        processes = self._deployment.processes
        strikes = Strikes(self._deployment, self._loop, self._watch.note)
        strikes.arm(self._schedule.faults)
        for process in processes.values():
            process.start()
        for act in self._world.prepare:
            await self._clients.act(act)
        begin = self._loop.now
        strikes.begin(self._schedule.faults)
        self._clients.begin(begin, self._schedule.acts)
        over = max((fault.ends for fault in self._schedule.faults), default=0.0)
        last = max((act.at for act in self._schedule.acts), default=0.0)
        self._look(begin + max(over, last) + self._world.bound_s, QUIET_S, None)
        await self._over
        return self._result()

    async def end(self) -> None:
        """End whatever is still there."""
        await self._clients.end()
        await self._deployment.end()

    def _look(self, give_up: float, quiet_s: float, quiet_since: float | None) -> None:
        """End the world when all sagas have ended, nothing moves, and everything holds.

        What does not hold yet may still be put right by something that runs now and then, so it is
        looked at again, each time after twice as long, until the bound.
        """
        now = self._loop.now
        if not self._is_quiet():
            quiet_since = None
        elif quiet_since is None:
            quiet_since = now
        if now >= give_up:
            self._watch.check_end()
            self._end()
        elif quiet_since is None or now - quiet_since < quiet_s:
            self._loop.after(LOOK_EVERY_S, self._look, give_up, quiet_s, quiet_since)
        elif self._watch.is_well:
            self._end()
        else:
            self._loop.after(quiet_s, self._look, give_up, 2 * quiet_s, quiet_since)

    def _is_quiet(self) -> bool:
        truth = self._truth
        return (
            all(truth.ends(saga_id) for saga_id in truth.saga_ids)
            and not self._clients.waiting
            and self._deployment.quiet
            and not truth.is_pending(EPOCH + self._loop.now + SOON_S)
        )

    def _result(self) -> Result:
        processes = self._deployment.processes.values()
        return Result(
            self._schedule,
            tuple(self._watch.problems),
            self._watch.trace,
            self._loop.now,
            {each.name: dict(each.reached) for each in processes},
            sum(each.crashes for each in processes),
        )
