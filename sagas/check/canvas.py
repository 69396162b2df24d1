"""``sagas canvas``: what each participant hears, does, emits and undoes, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sagas.check.emissions import refusals
from sagas.check.flow import origin
from sagas.envelope import Command, event_type
from sagas.flow import Choreography
from sagas.participant import Participant, Reaction, ReactionKind, Step

__all__ = ["canvas"]

_ROLES = {
    ReactionKind.FOLLOW: "follows",
    ReactionKind.COMMAND: "is asked",
    ReactionKind.TIMER: "in time",
}


def canvas(choreography: Choreography) -> str:
    """One page: the ends, then a section for each participant."""
    lines = [
        f"# {choreography.name}",
        "",
        f"Completed by {_events(choreography.completed_by)}; "
        f"compensated by {_events(choreography.compensated_by)}.",
    ]
    for participant in choreography.participants:
        lines += ["", f"## {participant.name}", ""]
        lines += _steps(participant)
        lines += _others(participant)
    return "\n".join(lines) + "\n"


def _steps(participant: Participant[Any]) -> list[str]:
    if not participant.steps:
        return ["No steps: it only listens."]
    return [
        "| hears | does | emits | or refuses | undone by | on | emits |",
        "|---|---|---|---|---|---|---|",
        *(_row(step) for step in participant.steps.values()),
    ]


def _row(step: Step[Any]) -> str:
    reaction, undo = step.reaction, step.undo
    name = f"**{step.name}** (pivot)" if step.pivot else f"**{step.name}**"
    if undo is not None:
        back = (undo.name, _events(undo.triggers), _events((*undo.emits, *undo.refuses)))
    elif step.kept_on:
        back = ("kept", _events(step.kept_on), "–")
    else:
        back = ("–", "–", "–")
    if undo is not None and step.kept_on:
        back = (back[0], f"{back[1]}; kept on {_events(step.kept_on)}", back[2])
    cells = (
        _events(reaction.triggers),
        name,
        _events(reaction.emits),
        _events(refusals(reaction)),
        *back,
    )
    return f"| {' | '.join(cells)} |"


def _others(participant: Participant[Any]) -> list[str]:
    others = [each for each in participant.reactions() if each.role in _ROLES]
    return ["", *map(_line, others)] if others else []


def _line(reaction: Reaction) -> str:
    on = f" on {_events(reaction.triggers)}" if reaction.triggers else ""
    says = f", and may emit {_events(reaction.emits)}" if reaction.emits else ""
    return f"- {reaction.name}: {_ROLES[reaction.role]}{on}{says}"


def _events(classes: Iterable[type]) -> str:
    return ", ".join(_event(cls) for cls in classes) or "–"


def _event(cls: type) -> str:
    where = origin(cls)
    name = f"`{event_type(cls)}`"
    return f"{name} ({where})" if where is not None and issubclass(cls, Command) else name
