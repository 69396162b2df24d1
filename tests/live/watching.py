"""The simulator's worlds, watched by their tracker alone: what it heard, and what it made of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

from participants import simulation as shop
from sagas.simulate import Invariant, Truth, World, invariant, play
from sagas.tracker import SagaView
from tests.simulation import counting

__all__ = ["WORLDS", "watch"]

WORLDS = {"shop": shop.world, "counting": counting.world}


class _Watched(World):
    """Nothing is asked of it, so that a faulty world, too, is played to its end."""

    @property
    def all_invariants(self) -> tuple[Invariant, ...]:
        return tuple(self.invariants)


def watch(name: str, seed: int, *, patience_s: float = 90.0) -> Mapping[str, SagaView]:
    """The tracker's views at the end of a world; a saga that hangs is waited for ``patience_s``."""
    found: dict[str, SagaView] = {}

    @invariant
    def look(truth: Truth) -> Iterator[str]:
        found.update(truth.views())
        return iter(())

    given = {each.name: getattr(WORLDS[name], each.name) for each in fields(World)}
    world = _Watched(**{**given, "invariants": [look], "bound_s": patience_s})
    play(world, world.schedule(seed), traced=False, to_its_end=True)
    return found
