"""The crash sweep: one scenario, played again with a crash at each point that it passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sagas.simulate.run import Result, play
from sagas.simulate.schedule import STEP, Fault, FaultKind, Schedule
from sagas.simulate.world import World

__all__ = ["crash_points", "sweep"]

#: How long a process is down: long enough for the others to go on without it.
DOWN_S = 0.7


def crash_points(world: World, schedule: Schedule, *, awaits: bool = False) -> list[Fault]:
    """Every point that the schedule's own run passes, as crashes.

    The sides of each call (read, commit, publish, effect, ack); with ``awaits`` instead every
    moment at which any task of any process goes on after an await.
    """
    reached = play(world, schedule, counts_steps=awaits).reached
    return [
        Fault(FaultKind.CRASH_AT, process, for_s=DOWN_S, point=point, nth=nth)
        for process, points in reached.items()
        for point, count in points.items()
        if (point == STEP) is awaits
        for nth in range(1, count + 1)
    ]


def sweep(world: World, schedule: Schedule, crashes: list[Fault]) -> Iterator[Result]:
    """The results of playing the schedule with one crash more, for each of them."""
    for crash in crashes:
        crashing = replace(schedule, faults=(*schedule.faults, crash))
        yield play(world, crashing, counts_steps=crash.point == STEP)
