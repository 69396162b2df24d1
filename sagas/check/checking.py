"""``check``: all rules on one choreography."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sagas.check.bounds import cycles, deadline
from sagas.check.ends import ends
from sagas.check.explore import explore
from sagas.check.finding import Finding, Place, Severity
from sagas.check.model import Model
from sagas.check.never import Never
from sagas.check.races import races
from sagas.check.schema import schema
from sagas.check.wiring import pivots, wiring
from sagas.flow import Choreography

__all__ = ["MAX_STATES", "Report", "check"]

#: Some ten seconds of exploring.
MAX_STATES = 500_000


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, and how much it looked at."""

    choreography: str
    findings: tuple[Finding, ...]
    states: int = 0
    transitions: int = 0
    #: States in which a saga can come to rest.
    ends: int = 0
    seconds: float = 0.0

    @property
    def clean(self) -> bool:
        return not self.findings


def check(
    choreography: Choreography,
    *,
    rules: Sequence[Never] = (),
    tombstones: bool = True,
    deadline_s: float | None = None,
    max_states: int = MAX_STATES,
) -> Report:
    """Check a choreography before it runs.

    ``rules`` are what it states about itself beyond what holds for all. ``tombstones=False`` asks
    what would happen without them. ``deadline_s`` is the saga's (default: the choreography's own
    attribute of that name, if it has one). Raises ``TooManyStates`` beyond ``max_states``.
    """
    started = time.perf_counter()
    if deadline_s is None:
        deadline_s = getattr(choreography, "deadline_s", None)
    model = Model(choreography, tombstones=tombstones, watched=_watched(rules))
    explored = explore(model, max_states)
    found = [
        *wiring(explored),
        *pivots(explored),
        *ends(explored),
        *races(explored, rules),
        *cycles(model.flow),
        *deadline(explored, deadline_s),
        *schema(model.flow),
    ]
    # What concerns the flow as a whole is found where the flow was put together.
    whole = Place(*choreography.declared_at)
    placed = [each if each.place is not None else replace(each, place=whole) for each in found]
    return Report(
        choreography.name,
        tuple(sorted(placed, key=_order)),
        states=len(explored.reached),
        transitions=explored.transitions,
        ends=len(explored.ends),
        seconds=time.perf_counter() - started,
    )


def _watched(rules: Iterable[Never]) -> list[type]:
    return [
        thing
        for rule in rules
        for thing in (rule.what, rule.other, *rule.lifted_by)
        if isinstance(thing, type)
    ]


def _order(finding: Finding) -> tuple[bool, str, str]:
    return (finding.severity is not Severity.ERROR, finding.code, finding.subject)
