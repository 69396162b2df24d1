"""Thousands of worlds: nothing is lost, nothing happens twice, whatever fails."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from participants import simulation as shop
from sagas.simulate import World, play
from sagas.simulate.sweep import crash_points, sweep
from tests.simulation import counting

SEEDS = 200
WORLDS = {"shop": shop.world, "counting": counting.world}


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_holds(name: str) -> None:
    world = WORLDS[name]
    for seed in range(SEEDS):
        result = play(world, world.schedule(seed))
        assert not result.problems, f"seed {seed}; python -m sagas.simulate … --seed {seed}"


def test_the_faults_really_happen() -> None:
    results = [play(shop.world, shop.world.schedule(seed)) for seed in range(60)]
    said = {entry.what for result in results for entry in result.trace.entries}
    kinds = {"crash", "stall", "clock jumps", "store away", "slow store", "broker away"}
    lost = {"request lost", "request late", "answer lost", "crash at"}
    assert kinds | lost | {"crashes", "conflict", "hears"} <= said
    types = {line.split()[-1] for result in results for line in result.trace.lines()}
    assert types


# ------------------------------------------------------------------------------- same seed


_DIGEST = """
import hashlib
from participants.simulation import world
from sagas.simulate import play
for seed in range(100, 112):
    lines = play(world, world.schedule(seed)).trace.lines()
    print(seed, len(lines), hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _DIGEST],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "2", "77")
    ]
    first, *others = [each.communicate(timeout=120)[0] for each in running]
    assert first.count("\n") == 12
    assert all(other == first for other in others)


# ------------------------------------------------------------------------------- crash sweep


def _one_saga(world: World) -> int:
    """The first seed whose world has one saga."""
    return next(seed for seed in range(99) if len(world.schedule(seed).scripts) == 1)


@pytest.mark.parametrize("name", WORLDS)
def test_a_crash_at_each_point_in_turn_changes_nothing(name: str) -> None:
    world = WORLDS[name]
    schedule = replace(world.schedule(_one_saga(world)), faults=())
    points = crash_points(world, schedule)
    assert len({fault.point for fault in points}) >= 8
    for result in sweep(world, schedule, points):
        crash = result.schedule.faults[-1]
        assert result.crashes == 1, crash
        assert not result.problems, crash


def test_a_crash_at_each_await_changes_nothing() -> None:
    world = counting.world
    schedule = replace(world.schedule(_one_saga(world)), faults=())
    points = crash_points(world, schedule, awaits=True)
    assert len(points) > 100
    for result in sweep(world, schedule, points):
        crash = result.schedule.faults[-1]
        assert result.crashes == 1, crash
        assert not result.problems, crash
