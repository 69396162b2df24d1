"""The crash sweep: one scenario, played again with a crash at each point that it passes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from sagas.simulate.run import play
from sagas.simulate.schedule import Fault, FaultKind, Schedule
from sagas.simulate.world import World

__all__ = ["crash_pairs", "crash_points", "scenario", "swept"]

#: How long a process is down: long enough for the others to go on without it.
DOWN_S = 0.4
#: Of the second crashes, half come so soon after the first: while the process recovers.
SOON = 60


def scenario(world: World, seed: int) -> Schedule:
    """What happens under this seed when nothing goes wrong: its first saga, alone."""
    return world.schedule(seed).keeping([0], [])


def crash_points(world: World, schedule: Schedule) -> list[Fault]:
    """Every point that the schedule's own run passes, as crashes: every moment at which any task of
    any process goes on after an await, and both sides of each call (read, commit, publish, effect,
    ack)."""
    reached = play(world, schedule, traced=False, counted=True).reached
    return [
        Fault(FaultKind.CRASH_AT, process, for_s=DOWN_S, point=point, nth=nth)
        for process, points in reached.items()
        for point, count in points.items()
        for nth in range(1, count + 1)
    ]


def crash_pairs(points: Sequence[Fault], seed: int, count: int) -> list[tuple[Fault, Fault]]:
    """So many pairs of crashes, drawn by ``seed``: any two, or the second right after the first."""
    chance = random.Random(f"{seed}: pairs")
    pairs: list[tuple[Fault, Fault]] = []
    while len(pairs) < count:
        first, second = chance.choice(points), chance.choice(points)
        if chance.random() < 0.5:
            # Also where the undisturbed run never came: in the recovery from the first.
            nth = first.nth + 1 + chance.randrange(SOON)
            second = Fault(FaultKind.CRASH_AT, first.process, 0.0, DOWN_S, first.point, nth)
        if first != second:
            pairs.append((first, second))
    return pairs


def swept(schedule: Schedule, crashes: Sequence[Fault | tuple[Fault, ...]]) -> list[Schedule]:
    """The schedule once for each, with that crash (or those) in it: for ``play_many``."""
    return [schedule.adding(*((each,) if isinstance(each, Fault) else each)) for each in crashes]
