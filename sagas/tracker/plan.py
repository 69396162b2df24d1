"""What each event says about the steps of a saga: tables made once from the declarations.

The rest of the tracker only looks up ``(participant, event type)`` here; it knows no participant,
step or event by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from sagas.envelope import Message, event_type
from sagas.events import ENGINE_EVENTS
from sagas.flow import Choreography
from sagas.kind import Step
from sagas.participant import Participant
from sagas.reaction import Reaction
from sagas.tracker.conformance import Conformance, Judgement
from sagas.tracker.progress import (
    Meaning,
    asks_to_undo,
    keeps,
    refuses,
    refuses_to_undo,
    reports_done,
    reports_undone,
    triggers,
)
from sagas.tracker.redaction import Redaction
from sagas.tracker.timeline import Entry

__all__ = ["CAUSE_WAIT_S", "Judge", "Plan", "StepPlan", "plan_of"]

#: Looks at the events heard so far and says what should not have happened (``Conformance.judge``).
Judge = Callable[[Sequence[Entry], bool], Judgement]

#: Reads off a raw event what is kept of it beside its redacted data (``Business.read``).
ReadFacts = Callable[[Message], str]

#: How long an event may wait for its cause before that is reported.
CAUSE_WAIT_S: Final = 60.0

#: In a saga's timeline these would show the raw message; the dead letter's record has them.
_HIDDEN: Final = {"DeadLettered": frozenset({"detail", "stack", "message"})}


@dataclass(frozen=True, slots=True)
class StepPlan:
    """A step as views show it."""

    name: str
    participant: str
    compensation: str | None
    #: Its undo may say that it is too late.
    may_stay: bool
    deadline_s: float


Said = tuple[tuple[Meaning, int], ...]  # what an event means, and for which step


@dataclass(frozen=True, slots=True)
class Plan:
    """The tables of one choreography.

    ``judge`` holds live events against what the declarations allow: it sees all of a saga's events
    at every fold. What it finds impossible is a violation at once; what is unconfirmed becomes one
    after ``cause_wait_s``.
    """

    name: str
    owner: str | None
    #: Types whose class has the owner's field.
    owned_types: frozenset[str]
    steps: tuple[StepPlan, ...]
    #: The place of the pivot among them.
    pivot: int | None
    completing: frozenset[str]
    compensating: frozenset[str]
    redaction: Redaction
    judge: Judge
    cause_wait_s: float
    read_facts: ReadFacts
    said_by: dict[tuple[str, str], Said]
    said_by_anyone: dict[str, Said]

    def said(self, participant: str, type_: str) -> Said:
        """What an event of this type from this participant says about the steps."""
        return self.said_by.get((participant, type_)) or self.said_by_anyone.get(type_, ())


def plan_of(
    choreography: Choreography,
    *,
    cause_wait_s: float = CAUSE_WAIT_S,
    read_facts: ReadFacts | None = None,
) -> Plan:
    """The tables of ``choreography``, which is explored for this."""
    engine = {event_type(cls): cls for cls in ENGINE_EVENTS}
    classes: dict[str, type[BaseModel]] = {**choreography.event_classes(), **engine}
    owner, steps = choreography.owner, choreography.steps
    anyone, by_emitter = _said(choreography)
    return Plan(
        name=choreography.name,
        owner=owner,
        owned_types=frozenset(
            name for name, cls in classes.items() if owner is not None and owner in cls.model_fields
        ),
        steps=tuple(_step_plan(step) for step in steps),
        pivot=next((place for place, step in enumerate(steps) if step.pivot), None),
        completing=_types(choreography.completed_by),
        compensating=_types(choreography.compensated_by),
        redaction=Redaction(classes, _HIDDEN),
        judge=Conformance(choreography).judge,
        cause_wait_s=cause_wait_s,
        read_facts=read_facts or (lambda message: ""),
        said_by={place: (*said, *anyone.get(place[1], ())) for place, said in by_emitter.items()},
        said_by_anyone=anyone,
    )


def _step_plan(step: Step[Any]) -> StepPlan:
    return StepPlan(
        name=step.name,
        participant=step.kind.participant.name,
        compensation=None if step.undo is None else step.undo.name,
        may_stay=step.undo is not None and bool(step.undo.refuses),
        deadline_s=step.deadline_s,
    )


def _said(choreography: Choreography) -> tuple[dict[str, Said], dict[tuple[str, str], Said]]:
    """What events mean to those who hear them, whoever emits; and what they mean by emitter."""
    anyone: dict[str, Said] = {}
    by_emitter: dict[tuple[str, str], Said] = {}
    for place, step in enumerate(choreography.steps):
        for meaning, types in _wishes(step):
            for name in types:
                anyone[name] = (*anyone.get(name, ()), (meaning, place))
        for meaning, types in _reports(step):
            for name in types:
                key = (step.kind.participant.name, name)
                by_emitter[key] = (*by_emitter.get(key, ()), (meaning, place))
    return anyone, by_emitter


def _wishes(step: Step[Any]) -> Iterable[tuple[Meaning, frozenset[str]]]:
    """What others say that concerns this step."""
    yield triggers, _types(step.reaction.triggers)
    yield keeps, _types(step.kept_on)
    if step.undo is not None:
        yield asks_to_undo, _types(step.undo.triggers)


def _reports(step: Step[Any]) -> Iterable[tuple[Meaning, frozenset[str]]]:
    """What its own participant says about it."""
    reaction, undo = step.reaction, step.undo
    spent = () if reaction.spent is None else reaction.spent.refuses
    yield reports_done, _proofs(step.kind.participant, reaction)
    yield refuses, _types((*reaction.refuses, *spent))
    if undo is not None:
        yield reports_undone, _proofs(step.kind.participant, undo)
        yield refuses_to_undo, _types(undo.refuses)


def _proofs(participant: Participant[Any], reaction: Reaction) -> frozenset[str]:
    """The events that prove this reaction ran: what others here emit too proves nothing."""
    emitted = Counter(
        event_type(cls) for other in participant.reactions() for cls in set(other.emits)
    )
    own = _types(reaction.emits)
    return frozenset(name for name in own if emitted[name] == 1) or own


def _types(classes: Iterable[type[BaseModel]]) -> frozenset[str]:
    return frozenset(event_type(cls) for cls in classes)
