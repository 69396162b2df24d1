"""Events and those who say and hear them: what the declarations alone tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from sagas.check.emissions import never_returned
from sagas.check.ends import past_the_pivot
from sagas.check.explore import Explored
from sagas.check.finding import Finding, Place, listed
from sagas.check.flow import Flow, topic
from sagas.envelope import Command, described, event_type
from sagas.events import origin
from sagas.participant import Participant
from sagas.reaction import Reaction

__all__ = ["pivots", "wiring"]

Trigger = type[BaseModel]


def wiring(explored: Explored) -> Iterator[Finding]:
    """Every rule about who says what and who hears it."""
    flow = explored.model.flow
    yield from _awaited(flow)
    yield from _unheard(flow)
    yield from _never_returned(flow)
    yield from _never_run(explored)


def _awaited(flow: Flow) -> Iterator[Finding]:
    choreography, told = flow.choreography, set[str]()
    for participant, reaction, cls, how in _waits(flow):
        name = topic(cls, participant.name)
        if name in flow.emitters or origin(cls) is not None or name in told:
            continue
        told.add(name)
        yield Finding(
            "SAGA101",
            f"{participant.name}.{reaction.name}",
            Place.of(reaction),
            f"{reaction.name} {how} {event_type(cls)}, which nobody emits.",
            f"Declare {event_type(cls)} in the `emits` or `refuses` of whoever says it, correct "
            f"the name, or give the class an `origin` if it comes from outside.",
        )
    for cls in (*choreography.completed_by, *choreography.compensated_by):
        if topic(cls, "") not in flow.emitters and origin(cls) is None:
            yield Finding(
                "SAGA104",
                event_type(cls),
                Place.of(cls),
                f"{choreography.name!r} ends with {event_type(cls)}, which nobody emits.",
                "Declare it in the `emits` of the last step or undo, or name another event.",
            )


def _waits(flow: Flow) -> Iterator[tuple[Participant[Any], Reaction, Trigger, str]]:
    for participant in flow.choreography.participants:
        for reaction in participant.reactions():
            for cls in reaction.triggers:
                if not issubclass(cls, Command):
                    yield participant, reaction, cls, "waits for"
        for step in participant.steps.values():
            for cls in step.kept_on:
                yield participant, step.reaction, cls, "is kept on"


def _unheard(flow: Flow) -> Iterator[Finding]:
    choreography = flow.choreography
    heard = {
        topic(cls, participant.name)
        for participant in choreography.participants
        for reaction in participant.reactions()
        for cls in reaction.triggers
    }
    heard |= {topic(cls, "") for cls in (*choreography.completed_by, *choreography.compensated_by)}
    for reaction in flow.reactions():
        participant = reaction.kind.participant
        for cls in reaction.says:
            name = topic(cls, participant.name)
            if name in heard or getattr(cls, "terminal", False):
                continue
            heard.add(name)
            whom = "its own participant" if described(cls).private else "nobody"
            verb = "does not hear" if described(cls).private else "hears"
            yield Finding(
                "SAGA102",
                f"{participant.name}.{reaction.name}",
                Place.of(reaction),
                f"{reaction.name} emits {event_type(cls)}, which {whom} {verb}.",
                "Let somebody react to it, name it in `completed_by` or `compensated_by`, or set "
                "`terminal = True` on the class if it is meant for other programs.",
            )


def _never_returned(flow: Flow) -> Iterator[Finding]:
    for reaction in flow.reactions():
        for each in (reaction, *([] if reaction.spent is None else [reaction.spent])):
            missing = [event_type(cls) for cls in never_returned(each)]
            if missing:
                yield Finding(
                    "SAGA103",
                    f"{reaction.kind.participant.name}.{each.name}",
                    Place.of(each),
                    f"{each.name} declares {listed(missing, 'and')}, but its return type has no "
                    f"room for {'it' if len(missing) == 1 else 'them'}: nobody will ever say "
                    f"{'it' if len(missing) == 1 else 'them'}.",
                    "Return it where it belongs and add it to the type, or take it out of the "
                    "declaration.",
                )


def _never_run(explored: Explored) -> Iterator[Finding]:
    ever = explored.model.any_of(explored.states)
    for bits in explored.model.steps:
        if ever & (bits.status | bits.report):
            continue
        reaction = bits.step.reaction
        names = listed([event_type(cls) for cls in reaction.triggers])
        yield Finding(
            "SAGA105",
            f"{reaction.kind.participant.name}.{reaction.name}",
            Place.of(reaction),
            f"{reaction.name} can never run: {names} is never sent, or its document never there.",
            "Trigger it by something that happens, or take it out.",
        )


def pivots(explored: Explored) -> Iterator[Finding]:
    """At most one pivot; behind it nothing is undone, and everything is tried until it is done."""
    steps = explored.model.choreography.steps
    found = [step for step in steps if step.pivot]
    for step in found[1:]:
        yield _about(
            "SAGA205",
            step.reaction,
            f"{step.name} is a pivot, and {found[0].name} is one already.",
            "Choose the one step from which there is no way back.",
        )
    past = past_the_pivot(explored)
    for step in steps:
        if step.name not in past:
            continue
        if step.undo is not None:
            yield _about(
                "SAGA206",
                step.undo,
                f"{step.name} only runs past the pivot {found[0].name}, but declares the undo "
                f"{step.undo.name}: from there the saga only goes forward.",
                f"Take {step.undo.name} out, or move the pivot behind {step.name}.",
            )
        if step.reaction.spent is not None:
            yield _about(
                "SAGA207",
                step.reaction.spent,
                f"{step.name} only runs past the pivot {found[0].name}, but refuses once its "
                f"retries are spent: nothing before it can be undone any more.",
                "Take `spent` out: a step past the pivot is tried until it is done.",
            )


def _about(code: str, reaction: Reaction, message: str, advice: str) -> Finding:
    subject = f"{reaction.kind.participant.name}.{reaction.name}"
    return Finding(code, subject, Place.of(reaction), message, advice)
