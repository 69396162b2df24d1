"""Seeded simulation: the real participants on virtual time, under every fault, by the thousand."""

from sagas.simulate.invariants import Invariant, invariant
from sagas.simulate.run import Result, play
from sagas.simulate.schedule import Act, Fault, FaultKind, Schedule, Script
from sagas.simulate.truth import Truth
from sagas.simulate.world import World

__all__ = [
    "Act",
    "Fault",
    "FaultKind",
    "Invariant",
    "Result",
    "Schedule",
    "Script",
    "Truth",
    "World",
    "invariant",
    "play",
]
