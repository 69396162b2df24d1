"""Worlds with an invariant that no saga keeps, and with no sagas: to see how failures are told."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

from sagas.simulate import Script, Truth, invariant
from tests.simulation import counting


@invariant
def no_trip_ever_ends(truth: Truth) -> Iterator[str]:
    for saga_id in truth.saga_ids:
        if truth.ends(saga_id):
            yield f"saga {saga_id} has ended"


def no_idea(chance: random.Random, saga_id: str) -> Script:
    raise RuntimeError("no idea")


world = replace(counting.world, invariants=[no_trip_ever_ends])
undrawn = replace(counting.world, draw=no_idea)
