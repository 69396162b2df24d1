"""A crash at each await in turn: one scenario after the other, and nothing is lost in any."""

from __future__ import annotations

from participants import simulation as shop
from sagas.simulate import World, play
from sagas.simulate.plugin import Sagas
from sagas.simulate.schedule import STEP
from sagas.simulate.sweep import crash_pairs, crash_points, scenario
from tests.simulation import counting

#: What the scenarios lead to, one or the other.
ENDS = {
    *("ParcelDelivered", "ParcelLost", "PaymentDeclined", "StockRejected", "ShipmentRejected"),
    *("ShipmentCancelled", "CancellationRefused", "RefundIssued", "StepRetrying"),
}
#: So many pairs of crashes in each.
PAIRS = 40


def _ways(world: World, wanted: set[str]) -> list[int]:
    """Seeds whose first saga, left in peace, leads to some of these events, until all are there."""
    seeds = []
    for seed in range(500):
        result = play(world, scenario(world, seed))
        writes = [entry for entry in result.trace.entries if entry.what == "writes"]
        found = wanted & {str(each) for entry in writes for each in entry.details}
        if found:
            seeds.append(seed)
            wanted = wanted - found
        if not wanted:
            return seeds
    raise AssertionError(f"no scenario leads to {wanted}")


def test_a_crash_at_each_point_in_turn_changes_nothing(sagas: Sagas) -> None:
    awaits = sides = survived = 0
    ways = _ways(shop.world, ENDS)
    for seed in ways:
        points = crash_points(shop.world, scenario(shop.world, seed))
        steps = sum(point.point == STEP for point in points)
        assert {point.process for point in points} >= {"order", "payment", "tracker"}
        assert steps >= 80
        played = sagas.sweep(shop.world, seed, pairs=PAIRS)
        assert played.worlds == len(points) + PAIRS
        # Each of the single ones came true, and nearly all of the pairs.
        assert played.crashes >= len(points) + 1.2 * PAIRS
        awaits, sides, survived = (
            awaits + steps,
            sides + len(points) - steps,
            survived + played.crashes,
        )
    assert awaits > 800
    print(
        f"\n{len(ways)} scenarios: a crash at each of {awaits:,} awaits, on each of {sides:,} "
        f"sides of calls, and {len(ways) * PAIRS:,} pairs; {survived:,} crashes survived"
    )


def test_a_small_choreography_is_swept_too(sagas: Sagas) -> None:
    played = sagas.sweep(counting.world, seed=1, pairs=100)
    assert played.crashes > played.worlds


def test_pairs_come_from_their_seed() -> None:
    points = crash_points(counting.world, scenario(counting.world, 0))
    assert {point.point for point in points} >= {
        STEP,
        "before commit",
        "after publish",
        "after ack",
    }
    assert crash_pairs(points, 7, 20) == crash_pairs(points, 7, 20)
    assert crash_pairs(points, 7, 20) != crash_pairs(points, 8, 20)
