"""What will happen in a simulated world: who asks for what when, and every fault, drawn up front.

A schedule is plain data. Nothing else decides what goes wrong, so taking an act or a fault out of
the list and playing it again is all that shrinking needs.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
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
    STALL_AT = "stalls at"
    CLOCK_JUMP = "clock jumps"
    STORE_OUTAGE = "store away"
    SLOW_STORE = "slow store"
    BROKER_OUTAGE = "broker away"
    #: Everything that the process calls through its ports answers ``Retryable``.
    PORTS_DOWN = "ports down"
    #: … or ``Retryable``, too, and is done all the same, when nobody expects it any more.
    PORTS_LATE = "ports late"
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
    FaultKind.STALL_AT,
    FaultKind.REQUEST_LOST,
    FaultKind.REQUEST_LATE,
    FaultKind.ANSWER_LOST,
)
#: A broker's outage has no process.
EVERYBODY = "*"
#: A participant's second instance is called by its name and this.
SECOND = "-2"


@dataclass(frozen=True, slots=True)
class Fault:
    """``at`` and ``for_s`` in virtual seconds; or the ``nth`` time that ``point`` is reached."""

    kind: FaultKind
    process: str
    at: float = 0.0
    for_s: float = 0.0
    point: str = ""
    nth: int = 0

    @classmethod
    def parse_crash(cls, text: str, for_s: float) -> Fault:
        """The crash that ``PROCESS:POINT:NTH`` names, as ``as_option`` writes it."""
        process, _, rest = text.partition(":")
        point, _, nth = rest.partition(":")
        point = point.replace("-", " ")
        if not process or point not in (*POINTS, STEP) or not (nth.isascii() and nth.isdigit()):
            points = ", ".join(each.replace(" ", "-") for each in (*POINTS, STEP))
            raise ValueError(f"{text!r} is no PROCESS:POINT:NTH with a point of {points}")
        return cls(FaultKind.CRASH_AT, process, for_s=for_s, point=point, nth=int(nth))

    @property
    def as_option(self) -> str:
        """A crash at a point, as ``parse_crash`` reads it."""
        return f"{self.process}:{self.point.replace(' ', '-')}:{self.nth}"

    @property
    def at_a_point(self) -> bool:
        return self.kind in _AT_A_POINT

    @property
    def ends(self) -> float:
        return self.at + self.for_s

    def __str__(self) -> str:
        if self.at_a_point:
            when = f"{self.point} #{self.nth}"
            lasts = self.kind in (FaultKind.CRASH_AT, FaultKind.STALL_AT)
            down = f", back after {self.for_s:.2f} s" if lasts else ""
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
    #: Crashes that a sweep put to the seed's own faults: the last of ``faults``.
    added: tuple[Fault, ...] = ()

    @property
    def acts(self) -> list[Act]:
        return [act for script in self.scripts for act in script.acts]

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

    def adding(self, *crashes: Fault) -> Schedule:
        """With these crashes as well."""
        return replace(self, faults=(*self.faults, *crashes), added=(*self.added, *crashes))


def draw_faults(
    chance: random.Random, processes: Sequence[str], with_ports: Sequence[str], until: float
) -> tuple[Fault, ...]:
    """None to seven faults before ``until``. One world in eight is left in peace.

    ``with_ports``: the processes that reach outside through ports, which may fail.
    """
    whom = {**dict.fromkeys(FaultKind, processes), FaultKind.BROKER_OUTAGE: (EVERYBODY,)}
    if with_ports:
        whom |= {FaultKind.PORTS_DOWN: with_ports, FaultKind.PORTS_LATE: with_ports}
    return tuple(_draw(chance, whom, until) for _ in range(chance.randrange(8)))


#: How often each kind is drawn: crashes most, since everything is promised to survive them.
_WEIGHTS = {
    FaultKind.CRASH: 4,
    FaultKind.CRASH_AT: 8,
    FaultKind.STALL: 2,
    FaultKind.STALL_AT: 3,
    FaultKind.CLOCK_JUMP: 1,
    FaultKind.STORE_OUTAGE: 2,
    FaultKind.SLOW_STORE: 1,
    FaultKind.BROKER_OUTAGE: 2,
    FaultKind.PORTS_DOWN: 2,
    FaultKind.PORTS_LATE: 3,
    FaultKind.DUPLICATES: 2,
    FaultKind.DELAYS: 3,
    FaultKind.REQUEST_LOST: 2,
    FaultKind.REQUEST_LATE: 2,
    FaultKind.ANSWER_LOST: 4,
}


#: So many faults are a second instance's, where there is one.
SECONDS_SHARE = 0.2
#: A lost read is only read again.
_LOST = tuple(f"before {what}" for what in ("read", "commit", "commit", "publish", "effect"))


def _draw(chance: random.Random, whom: Mapping[FaultKind, Sequence[str]], until: float) -> Fault:
    kind = chance.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
    process = chance.choice(whom[kind])
    if process is not EVERYBODY and chance.random() < SECONDS_SHARE:
        process += SECOND
    for_s = chance.choice((0.0, 0.05, 0.5, 2.0)) + chance.random()
    if kind in _AT_A_POINT:
        points = POINTS if kind in (FaultKind.CRASH_AT, FaultKind.STALL_AT) else _LOST
        nth = 1 + int(chance.random() ** 2 * 40)
        return Fault(kind, process, for_s=for_s, point=chance.choice(points), nth=nth)
    if kind is FaultKind.CLOCK_JUMP:
        for_s = chance.uniform(-2.0, 2.0)
    elif kind is FaultKind.PORTS_LATE:
        # Long enough for tries in place to end, so that others can come between.
        for_s = chance.uniform(1.0, 3.0)
    # Early rather than late: most sagas are at work from the beginning, and soon over.
    return Fault(kind, process, at=chance.random() ** 2 * until, for_s=for_s)
