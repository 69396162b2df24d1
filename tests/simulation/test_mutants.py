"""The simulator finds bugs: each of these by the seed that found it first.

``--search-mutants`` (``make soak``) looks for each of them anew, among the first 2,000 seeds.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from participants import simulation as shop
from sagas.simulate import World, play
from sagas.simulate.many import play_many
from sagas.simulate.shrink import shrink
from tests.simulation import counting
from tests.simulation.found import FOUND, NOT_FOUND
from tests.simulation.mutants import MUTANTS, no_tombstone_is_left

WORLDS = {"shop": shop.world, "counting": counting.world}
WITHIN = 2_000


@pytest.mark.parametrize("name", FOUND)
def test_a_mutant_is_found_by_its_seed(
    name: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    where, apply = MUTANTS[name]
    seed, invariant = FOUND[name]
    apply(monkeypatch)
    world = WORLDS[where]
    if request.config.getoption("--search-mutants"):
        first = _first(world)
        assert first is not None, f"{name} is not found within {WITHIN:,} seeds"
        print(f'\n    "{name}": {first},')
        return
    problems = play(world, world.schedule(seed), traced=False).problems
    # A change of the engine moves what a seed meets.
    advice = "--search-mutants finds another seed for tests/simulation/found.py"
    assert any(each.startswith(f"{invariant}:") for each in problems), (problems, advice)


def _first(world: World) -> tuple[int, str] | None:
    """The first seed that breaks something, and what."""
    with closing(play_many(world, range(WITHIN))) as batches:
        for played in batches:
            if played.broken:
                first = played.broken[0]
                return first.place, first.problems[0].split(":", 1)[0]
    return None


def test_every_mutant_is_accounted_for() -> None:
    assert MUTANTS.keys() == FOUND.keys() | NOT_FOUND
    assert len(FOUND) >= 20
    assert max(seed for seed, _ in FOUND.values()) < WITHIN


def test_the_documentation_has_every_mutant_with_its_seed() -> None:
    told = (Path(__file__).parents[2] / "docs" / "simulate.md").read_text().replace("'", "")
    for name, (seed, invariant) in FOUND.items():
        where, _ = MUTANTS[name]
        assert f"| {name.replace('_', ' ')} | {where} | {seed} | `{invariant}` |" in told


def test_a_failure_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    no_tombstone_is_left(monkeypatch)
    seed, invariant = FOUND["no_tombstone_is_left"]
    schedule = shop.world.schedule(seed)
    found = play(shop.world, schedule, traced=False)
    assert found.failed
    shortest = shrink(shop.world, found)
    assert any(problem.startswith(invariant) for problem in shortest.problems)
    assert shortest.trace.entries
    assert len(shortest.schedule.scripts) == 1
    assert len(shortest.schedule.faults) <= 1
