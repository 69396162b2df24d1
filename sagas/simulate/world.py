"""A world to simulate: a choreography, what it reaches outside through, and what must hold in it.

    world = World(shop, resources=resources, draw=draw, invariants=[money_adds_up])

``sagas simulate module:world`` plays it, once for each seed.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.ports import Clock, Ids
from sagas.runner import Runner
from sagas.simulate.invariants import EVERYWHERE, Invariant
from sagas.simulate.schedule import Act, Schedule, Script, draw_faults
from sagas.simulate.truth import TRACKER
from sagas.system import uuid7
from sagas.testing.virtual import EPOCH

__all__ = ["World"]

Resources = Callable[[Runner], Mapping[type, object]]
Upkeep = Callable[[Runner, Clock, Ids], Awaitable[None]]
MOST_SAGAS = 5
#: Who looks on is there in one world of so many.
BESIDE = 3


@dataclass(frozen=True, kw_only=True)
class World:
    """``resources()`` is called once for each world; what it gives is as for ``Harness``.

    ``draw(chance, saga_id)`` invents one saga, ``prepare`` are acts that come before everything.
    ``idle`` names participants that have no part in sagas and are not started; those ``beside``
    only look on, and are there in some of the worlds. ``upkeep`` is what a participant's process
    does beside its reactions. ``starts_s``: the sagas start, and faults begin, within so many
    virtual seconds.
    """

    choreography: Choreography
    draw: Callable[[random.Random, str], Script]
    resources: Callable[[], Mapping[str, Resources]] = field(default=dict)
    invariants: Sequence[Invariant] = ()
    prepare: Sequence[Act] = ()
    idle: Sequence[str] = ()
    beside: Sequence[str] = ()
    upkeep: Mapping[str, Upkeep] = field(default_factory=dict)
    starts_s: float = 1.0
    #: After the last fault, a saga may take so long: the longest waits are those between retries.
    bound_s: float = 300.0

    def running(self, seed: int) -> list[Participant[Any]]:
        """The participants that have a part in this seed's world."""
        out = {*self.idle, *(() if seed % BESIDE == 0 else self.beside)}
        return [each for each in self.choreography.participants if each.name not in out]

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
        running = self.running(seed)
        faults = draw_faults(
            random.Random(f"{seed}: faults"),
            [*(each.name for each in running), TRACKER],
            [each.name for each in running if _has_ports(each)],
            self.starts_s,
        )
        return Schedule(seed, tuple(scripts), faults)


@cache
def _has_ports(participant: Participant[Any]) -> bool:
    asked = {wanted for reaction in participant.reactions() for wanted in reaction.resources()}
    return bool(asked - {Runner})
