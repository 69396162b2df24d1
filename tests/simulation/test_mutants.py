"""The simulator finds bugs: each of these is found by the seed that found it first."""

from __future__ import annotations

import pytest

from participants import simulation as shop
from sagas.simulate import play
from sagas.simulate.shrink import shrink
from tests.simulation import counting
from tests.simulation.found import FOUND
from tests.simulation.mutants import MUTANTS, no_tombstone_is_left

WORLDS = {"shop": shop.world, "counting": counting.world}


#: A change of the engine moves what a seed meets: then so many others are tried.
OTHERS = 300


@pytest.mark.parametrize("name", FOUND)
def test_a_mutant_is_found_by_its_seed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where, apply = MUTANTS[name]
    seed, _ = FOUND[name]
    apply(monkeypatch)
    world = WORLDS[where]
    assert any(play(world, world.schedule(each)).failed for each in (seed, *range(OTHERS)))


def test_a_failure_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    no_tombstone_is_left(monkeypatch)
    seed, invariant = FOUND["no_tombstone_is_left"]
    schedule = shop.world.schedule(seed)
    found = play(shop.world, schedule)
    assert found.failed
    shortest = shrink(shop.world, found)
    assert any(problem.startswith(invariant) for problem in shortest.problems)
    assert len(shortest.schedule.scripts) == 1
    assert len(shortest.schedule.faults) <= len(schedule.faults)
