"""What will happen in a simulated world: who asks for what when, and every fault, drawn up front.

A schedule is plain data. Nothing else decides what goes wrong, so taking an act or a fault out of
the list and playing it again is all that shrinking needs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import BaseModel

__all__ = ["POINTS", "STEP", "Act", "Fault", "FaultKind", "Schedule", "Script", "draw_faults"]


@dataclass(frozen=True, slots=True)
class Act:
    """A command from outside. ``kind`` names its collection; ``None`` is the saga's own."""

    at: float
    participant: str
    key: str
    command: BaseModel
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """One saga: the act that starts it comes first, what else is asked of it follows."""

    saga_id: str
    acts: tuple[Act, ...]


class FaultKind(StrEnum):
    #: The process ends at this moment, or when it reaches a point, and starts again later.
    CRASH = "crash"
    CRASH_AT = "crash at"
    #: The process answers nobody for a while, then goes on as if nothing had been.
    STALL = "stall"
    CLOCK_JUMP = "clock jumps"
    STORE_OUTAGE = "store away"
    SLOW_STORE = "slow store"
    BROKER_OUTAGE = "broker away"
    #: Everything that the process calls through its ports answers ``Retryable``.
    PORTS_DOWN = "ports down"
    #: What is sent to this process meanwhile comes twice, or late and in any order.
    DUPLICATES = "duplicates"
    DELAYS = "delays"
    #: One call: it never arrives, arrives after its caller gave up, or is done and nobody hears it.
    REQUEST_LOST = "request lost"
    REQUEST_LATE = "request late"
    ANSWER_LOST = "answer lost"


#: Where a process can be stopped, or one call be lost: each call's both sides.
CALLS = ("read", "commit", "publish", "effect")
POINTS = tuple(f"{side} {what}" for what in (*CALLS, "ack") for side in ("before", "after"))

#: Any moment at which a task goes on after an await; counted only where a sweep asks for it.
STEP = "step"

_AT_A_POINT = (
    FaultKind.CRASH_AT,
    FaultKind.REQUEST_LOST,
    FaultKind.REQUEST_LATE,
    FaultKind.ANSWER_LOST,
)
#: A broker's outage has no process.
EVERYBODY = "*"


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` and ``for_s`` in virtual seconds; or the ``nth`` time that ``point`` is reached."""

    kind: FaultKind
    process: str
    at: float = 0.0
    for_s: float = 0.0
    point: str = ""
    nth: int = 0

    @property
    def at_a_point(self) -> bool:
        return self.kind in _AT_A_POINT

    @property
    def ends(self) -> float:
        return self.at + self.for_s

    def __str__(self) -> str:
        if self.at_a_point:
            when = f"{self.point} #{self.nth}"
            down = f", back after {self.for_s:.2f} s" if self.kind is FaultKind.CRASH_AT else ""
            return f"{self.process}: {self.kind} {when}{down}"
        return f"{self.process}: {self.kind} at {self.at:.2f} s for {self.for_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is decided before the world starts."""

    seed: int
    scripts: tuple[Script, ...]
    faults: tuple[Fault, ...]
    #: The places of what was kept of the seed's own schedule; ``None``: everything.
    kept_scripts: tuple[int, ...] | None = None
    kept_faults: tuple[int, ...] | None = None

    def keeping(self, scripts: Sequence[int] | None, faults: Sequence[int] | None) -> Schedule:
        """Only these scripts and faults, by their places in the seed's own schedule."""
        kept_scripts = tuple(range(len(self.scripts))) if scripts is None else tuple(scripts)
        kept_faults = tuple(range(len(self.faults))) if faults is None else tuple(faults)
        return replace(
            self,
            scripts=tuple(self.scripts[place] for place in kept_scripts),
            faults=tuple(self.faults[place] for place in kept_faults),
            kept_scripts=None if scripts is None else kept_scripts,
            kept_faults=None if faults is None else kept_faults,
        )


def draw_faults(chance: random.Random, processes: Sequence[str], until: float) -> tuple[Fault, ...]:
    """None to seven faults before ``until``. One world in eight is left in peace."""
    return tuple(_draw(chance, processes, until) for _ in range(chance.randrange(8)))


#: How often each kind is drawn: crashes most, since everything is promised to survive them.
_WEIGHTS = {
    FaultKind.CRASH: 4,
    FaultKind.CRASH_AT: 8,
    FaultKind.STALL: 2,
    FaultKind.CLOCK_JUMP: 1,
    FaultKind.STORE_OUTAGE: 2,
    FaultKind.SLOW_STORE: 1,
    FaultKind.BROKER_OUTAGE: 2,
    FaultKind.PORTS_DOWN: 2,
    FaultKind.DUPLICATES: 2,
    FaultKind.DELAYS: 3,
    FaultKind.REQUEST_LOST: 2,
    FaultKind.REQUEST_LATE: 2,
    FaultKind.ANSWER_LOST: 4,
}


#: A lost read is only read again.
_LOST = tuple(f"before {what}" for what in ("read", "commit", "commit", "publish", "effect"))


def _draw(chance: random.Random, processes: Sequence[str], until: float) -> Fault:
    kind = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    process = EVERYBODY if kind is FaultKind.BROKER_OUTAGE else chance.choice(processes)
    for_s = chance.choice((0.0, 0.05, 0.5, 2.0)) + chance.random()
    if kind in _AT_A_POINT:
        points = POINTS if kind is FaultKind.CRASH_AT else _LOST
        nth = 1 + int(chance.random() ** 2 * 40)
        return Fault(kind, process, for_s=for_s, point=chance.choice(points), nth=nth)
    if kind is FaultKind.CLOCK_JUMP:
        for_s = chance.uniform(-2.0, 2.0)
    return Fault(kind, process, at=chance.random() * until, for_s=for_s)
