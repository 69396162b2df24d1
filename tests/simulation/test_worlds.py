"""Thousands of worlds: nothing is lost, nothing happens twice, whatever fails.

``make soak`` plays a hundred thousand; so does ``--saga-seeds 100000``, here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from participants import simulation as shop
from sagas.simulate import play
from sagas.simulate.plugin import Sagas
from sagas.simulate.schedule import FaultKind
from tests.simulation import counting

WORLDS = {"shop": shop.world, "counting": counting.world}
SEEDS = {"shop": 2_000, "counting": 1_000}


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_holds(name: str, sagas: Sagas) -> None:
    played = sagas.hold(WORLDS[name], range(max(SEEDS[name], sagas.seeds)))
    assert played.sagas > 2 * played.worlds
    assert played.crashes > played.worlds / 4
    print(f"\n{name}: {played.sagas / played.cpu_s:.0f} sagas a second a core")


def test_the_faults_really_happen() -> None:
    results = [play(shop.world, shop.world.schedule(seed)) for seed in range(100)]
    told = Counter(entry.what for result in results for entry in result.trace.entries)
    assert {kind.value for kind in FaultKind} | {"crashes", "conflict", "late"} <= told.keys()
    assert any(entry.who.endswith("-2") for result in results for entry in result.trace.entries)


def test_sagas_end_in_every_way() -> None:
    ends: Counter[str] = Counter()
    for seed in range(100):
        result = play(shop.world, shop.world.schedule(seed))
        said = {word for entry in result.trace.entries for word in map(str, entry.details)}
        ends.update(said & {"ParcelDelivered", "OrderCancelled", "ParcelLost", "PaymentDeclined"})
        ends.update(said & {"StockRejected", "ShipmentRejected", "CancellationRefused"})
    assert len(ends) == 7
    assert min(ends.values()) >= 5, ends


# ------------------------------------------------------------------------------- same seed


_DIGEST = """
import hashlib, sys
from participants.simulation import world
from sagas.simulate import play
for seed in range(int(sys.argv[1])):
    lines = play(world, world.schedule(seed)).trace.lines()
    print(seed, len(lines), hashlib.sha256("\\n".join(lines).encode()).hexdigest())
"""


def test_the_same_seed_gives_the_same_trace_in_any_process(
    request: pytest.FixtureRequest,
) -> None:
    seeds: int = request.config.getoption("--same-seeds")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _DIGEST, str(seeds)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for hash_seed in ("1", "77")
    ]
    first, other = [each.communicate(timeout=600)[0] for each in running]
    assert first.count("\n") == seeds
    assert first == other


def test_whether_it_is_traced_or_counted_changes_nothing() -> None:
    for seed in range(30):
        schedule = shop.world.schedule(seed)
        plain = play(shop.world, schedule, traced=False)
        assert not plain.trace.entries
        counted = play(shop.world, schedule, counted=True)
        told = play(shop.world, schedule)
        assert counted.trace.lines() == told.trace.lines()
        assert plain.lasted_s == told.lasted_s
