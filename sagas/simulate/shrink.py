"""Makes a failing schedule short: what can be left out without losing the failure goes."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sagas.simulate.run import Result, play
from sagas.simulate.schedule import Schedule
from sagas.simulate.world import World

__all__ = ["shrink"]

#: So many worlds are played at most, each costs a hundredth of a second; or, where they are slow,
#: so many as can be in these seconds.
MOST_TRIES = 300
LONGEST_S = 30.0


def shrink(world: World, found: Result) -> Result:
    """The shortest schedule found that breaks an invariant that ``found`` broke, played and traced.

    Leaves out sagas and faults: everything, each half, then one by one, as long as it helps. What
    a sweep added to the seed's own faults stays.
    """
    names = _broken(found)
    best = found.schedule
    tries, give_up = 0, time.monotonic() + LONGEST_S
    shorter = True
    while shorter:
        shorter = False
        for candidate in _shorter(world.schedule(best.seed), best):
            if tries == MOST_TRIES or time.monotonic() > give_up:
                break
            tries += 1
            if names & _broken(play(world, candidate, traced=False)):
                best, shorter = candidate, True
                break
    return play(world, best)


def _shorter(whole: Schedule, schedule: Schedule) -> Iterator[Schedule]:
    """``schedule`` with less in it, the boldest cuts first."""
    scripts, faults = schedule.kept_scripts, schedule.kept_faults
    for rest in _cuts(range(len(whole.faults)) if faults is None else faults):
        yield whole.keeping(scripts, rest).adding(*schedule.added)
    for rest in _cuts(range(len(whole.scripts)) if scripts is None else scripts):
        if rest:
            yield whole.keeping(rest, faults).adding(*schedule.added)


def _cuts(places: range | tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """What is left of these without all, without either half, and without each of them."""
    half = len(places) // 2
    parts = [places, *((places[:half], places[half:]) if half > 1 else ())]
    for part in [*parts, *((each,) for each in places)]:
        if part:
            yield tuple(place for place in places if place not in part)


def _broken(result: Result) -> set[str]:
    """The invariants that were broken, by name."""
    return {problem.split(":", 1)[0] for problem in result.problems}
