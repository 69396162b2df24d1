"""Makes a failing schedule short: what can be left out without losing the failure goes."""

from __future__ import annotations

from sagas.simulate.run import Result, play
from sagas.simulate.schedule import Schedule
from sagas.simulate.world import World

__all__ = ["shrink"]

#: So many worlds are played at most; each costs some hundredths of a second.
MOST_TRIES = 200


def shrink(world: World, found: Result) -> Result:
    """The result of the shortest schedule found that breaks an invariant that ``found`` broke."""
    names = _broken(found)
    whole = world.schedule(found.schedule.seed)
    tries = 0

    def still_fails(schedule: Schedule) -> Result | None:
        nonlocal tries
        tries += 1
        result = play(world, schedule)
        return result if names & _broken(result) else None

    best = found
    scripts = list(found.schedule.kept_scripts or range(len(whole.scripts)))
    faults = list(found.schedule.kept_faults or range(len(whole.faults)))
    shorter = True
    while shorter and tries < MOST_TRIES:
        shorter = False
        for places, least in ((scripts, 1), (faults, 0)):
            for part in _parts(places):
                if len(places) - len(part) < least or not set(part) <= set(places):
                    continue
                rest = [place for place in places if place not in part]
                kept = (rest, faults) if places is scripts else (scripts, rest)
                result = still_fails(whole.keeping(*kept))
                if result is not None:
                    best, shorter = result, True
                    places[:] = rest
    return best


def _parts(places: list[int]) -> list[list[int]]:
    """What to try to leave out: everything, each half, then one by one."""
    half = len(places) // 2
    halves = [places[:half], places[half:]] if half else []
    return [part for part in (list(places), *halves, *([each] for each in places)) if part]


def _broken(result: Result) -> set[str]:
    """The invariants that were broken, by name."""
    return {problem.split(":", 1)[0] for problem in result.problems}
