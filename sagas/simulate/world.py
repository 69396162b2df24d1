"""A world to simulate: a choreography, what it reaches outside through, and what must hold in it.

    world = World(shop, resources=resources, draw=draw, invariants=[money_adds_up])

``sagas simulate module:world`` plays it, once for each seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.runner import Runner
from sagas.simulate.invariants import EVERYWHERE, Invariant
from sagas.simulate.schedule import Act, Schedule, Script, draw_faults
from sagas.simulate.truth import TRACKER
from sagas.system import uuid7
from sagas.testing.virtual import EPOCH

__all__ = ["World"]

Resources = Callable[[Runner], Mapping[type, object]]
MOST_SAGAS = 5


@dataclass(frozen=True, kw_only=True)
class World:
    """``resources`` are as for ``Harness``; ``outside`` makes what they share in one run.

    ``draw(chance, saga_id)`` invents one saga, ``prepare`` are acts that come before everything.
    ``idle`` names participants that have no part in sagas and are not started. ``starts_s``: the
    sagas start, and faults begin, within so many virtual seconds.
    """

    choreography: Choreography
    draw: Callable[[random.Random, str], Script]
    resources: Callable[[], Mapping[str, Resources]] = field(default=dict)
    invariants: Sequence[Invariant] = ()
    prepare: Sequence[Act] = ()
    idle: Sequence[str] = ()
    starts_s: float = 4.0
    #: After the last fault, a saga may take so long: the longest waits are those between retries.
    bound_s: float = 300.0

    @property
    def participants(self) -> list[Participant[Any]]:
        return [each for each in self.choreography.participants if each.name not in self.idle]

    @property
    def all_invariants(self) -> tuple[Invariant, ...]:
        return (*EVERYWHERE, *self.invariants)

    def schedule(self, seed: int) -> Schedule:
        """What happens under this seed."""
        chance = random.Random(f"{seed}: sagas")
        scripts = []
        for _ in range(1 + chance.randrange(MOST_SAGAS)):
            saga_id = uuid7(EPOCH, chance.getrandbits(74))
            scripts.append(self.draw(chance, saga_id))
        names = [*(each.name for each in self.participants), TRACKER]
        faults = draw_faults(random.Random(f"{seed}: faults"), names, self.starts_s)
        return Schedule(seed, tuple(scripts), faults)
