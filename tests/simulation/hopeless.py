"""A world with an invariant that no saga keeps: to see how failures are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from sagas.simulate import Truth, invariant
from tests.simulation import counting


@invariant
def no_trip_ever_ends(truth: Truth) -> Iterator[str]:
    for saga_id in truth.saga_ids:
        if truth.ends(saga_id):
            yield f"saga {saga_id} has ended"


world = replace(counting.world, invariants=[no_trip_ever_ends])
