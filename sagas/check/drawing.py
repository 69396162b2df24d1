"""``sagas graph``: the flow as Mermaid, Graphviz dot, JSON or SVG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from sagas.check.figure import Arrow, Box
from sagas.check.finding import listed
from sagas.check.flow import emissions, origin
from sagas.check.svg import drawn
from sagas.envelope import Command, event_type
from sagas.flow import Choreography
from sagas.participant import Reaction, ReactionKind, Step

__all__ = ["FORMATS", "graph"]


@dataclass(frozen=True, slots=True)
class _Picture:
    """Boxes and arrows, whatever draws them."""

    boxes: list[Box]
    arrows: list[Arrow]


def _picture(choreography: Choreography) -> _Picture:
    boxes = [box for step in choreography.steps for box in _boxes(step)]
    undos = {box.id for box in boxes if box.kind == "undo"}
    arrows = [
        Arrow(edge.source, edge.target, edge.event, edge.refusal or edge.source in undos)
        for edge in choreography.edges()
    ]
    _add_starts(choreography, boxes, arrows)
    _add_ends(choreography, boxes, arrows)
    return _Picture(boxes, arrows)


def _boxes(step: Step[Any]) -> list[Box]:
    """A step, and its undo beside it."""
    group = step.kind.participant.name
    notes = ("pivot: no way back",) if step.pivot else ()
    if step.kept_on:
        notes = (*notes, f"kept on {listed([event_type(cls) for cls in step.kept_on])}")
    found = [Box(step.name, step.name, group, "pivot" if step.pivot else "step", notes=notes)]
    if step.undo is not None:
        found.append(Box(step.undo.name, step.undo.name, group, "undo", beside=step.name))
    return found


def _flow(choreography: Choreography) -> list[Reaction]:
    return [
        reaction
        for step in choreography.steps
        for reaction in (step.reaction, step.undo)
        if reaction is not None
    ]


def _add_starts(choreography: Choreography, boxes: list[Box], arrows: list[Arrow]) -> None:
    """What enters the flow from outside, or from a reaction beside it."""
    inner = {arrow.event for arrow in arrows}
    known: set[str] = set()
    for reaction in _flow(choreography):
        for cls in reaction.triggers:
            name = event_type(cls)
            if name in inner:
                continue
            if name not in known:
                known.add(name)
                label = "\n".join(_origins(choreography, cls))
                boxes.append(Box(name, label, "", "start"))
            arrows.append(Arrow(name, reaction.name, name, reaction.role is ReactionKind.UNDO))


def _origins(choreography: Choreography, cls: type) -> list[str]:
    """Who says an event that no step or undo says: a request, somebody outside, a timer."""
    if (who := origin(cls)) is not None:
        return [who]
    found: list[str] = []
    for participant in choreography.participants:
        for reaction in participant.reactions():
            if cls not in emissions(reaction):
                continue
            commands = [each for each in reaction.triggers if issubclass(each, Command)]
            if reaction.timer is not None:
                found.append(f"{participant.name}'s {reaction.timer} timer")
            elif outside := [each for each in map(origin, reaction.triggers) if each is not None]:
                found += outside
            elif not commands:
                found.append(f"{participant.name}'s {reaction.name}")
    return list(dict.fromkeys(found)) or [event_type(cls)]


def _add_ends(choreography: Choreography, boxes: list[Box], arrows: list[Arrow]) -> None:
    ends = (("completed", choreography.completed_by), ("compensated", choreography.compensated_by))
    for word, classes in ends:
        if classes:
            boxes.append(Box(word, word, "", "end"))
        for cls in classes:
            arrows.extend(
                Arrow(reaction.name, word, event_type(cls), word == "compensated")
                for reaction in _flow(choreography)
                if cls in emissions(reaction)
            )


def _mermaid(choreography: Choreography) -> str:
    return choreography.mermaid()


def _json(choreography: Choreography) -> str:
    picture = _picture(choreography)
    content = {
        "choreography": choreography.name,
        "nodes": [asdict(box) for box in picture.boxes],
        "edges": [asdict(arrow) for arrow in picture.arrows],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"


def _svg(choreography: Choreography) -> str:
    picture = _picture(choreography)
    return drawn(choreography.name, picture.boxes, picture.arrows)


_SHAPES: Final = {
    "step": "shape=box",
    "undo": 'shape=box style="rounded,dashed"',
    "pivot": "shape=hexagon",
    "start": 'shape=box style="rounded,filled" fillcolor="#f3f4f6"',
    "end": "shape=box style=rounded peripheries=2",
}


def _dot(choreography: Choreography) -> str:
    picture = _picture(choreography)
    lines = [f"digraph {_quoted(choreography.name)} {{", "  node [fontname=sans];"]
    for number, participant in enumerate(dict.fromkeys(box.group for box in picture.boxes)):
        nodes = [
            f"{_quoted(box.id)} [label={_quoted(_words(box))} {_SHAPES[box.kind]}];"
            for box in picture.boxes
            if box.group == participant
        ]
        if participant:
            lines.append(f"  subgraph cluster_{number} {{ label={_quoted(participant)};")
            lines += [f"    {node}" for node in nodes]
            lines.append("  }")
        else:
            lines += [f"  {node}" for node in nodes]
    for arrow in picture.arrows:
        style = " style=dashed" if arrow.back else ""
        ends = f"{_quoted(arrow.source)} -> {_quoted(arrow.target)}"
        lines.append(f"  {ends} [label={_quoted(arrow.event)}{style}];")
    return "\n".join([*lines, "}"]) + "\n"


def _words(box: Box) -> str:
    return "\n".join([box.label, *box.notes])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


FORMATS: Final[dict[str, Callable[[Choreography], str]]] = {
    "mermaid": _mermaid,
    "dot": _dot,
    "json": _json,
    "svg": _svg,
}


def graph(choreography: Choreography, format: str = "mermaid") -> str:
    """The flow of a choreography in one of ``FORMATS``."""
    return FORMATS[format](choreography)
