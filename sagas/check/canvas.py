"""``sagas canvas``: what each participant hears, does, emits and undoes, in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from sagas.envelope import event_type
from sagas.events import origin
from sagas.flow import Choreography
from sagas.kind import Step
from sagas.participant import Participant
from sagas.reaction import Reaction, ReactionKind

__all__ = ["canvas"]

_BESIDE = (ReactionKind.FOLLOW, ReactionKind.COMMAND, ReactionKind.TIMER)


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
        return ["No steps of its own."]
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
        _events(reaction.may_refuse),
        *back,
    )
    return f"| {' | '.join(cells)} |"


def _others(participant: Participant[Any]) -> list[str]:
    """What it does beside its steps: it follows, is asked, or is reminded."""
    others = [each for each in participant.reactions() if each.role in _BESIDE]
    if not others:
        return []
    title = (
        "| hears | does besides | may emit |"
        if participant.steps
        else "| hears | does | may emit |"
    )
    return ["", title, "|---|---|---|", *map(_line, others)]


def _line(reaction: Reaction) -> str:
    hears = _events(reaction.triggers)
    if reaction.timer is not None:
        hears = f"the `{reaction.timer}` timer"
    kind = reaction.kind
    where = "" if kind is kind.participant.saga else f" (in {kind.name})"
    return f"| {hears} | {reaction.name}{where} | {_events(reaction.emits)} |"


def _events(classes: Iterable[type[BaseModel]]) -> str:
    return ", ".join(_event(cls) for cls in classes) or "–"


def _event(cls: type[BaseModel]) -> str:
    where = origin(cls)
    return f"`{event_type(cls)}`" + ("" if where is None else f" ({where})")
