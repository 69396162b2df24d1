"""``sagas graph``: the flow as Mermaid, Graphviz dot, JSON or SVG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Final

import orjson

from sagas.check.svg import drawn
from sagas.flow import Choreography
from sagas.picture import Box, mermaid, picture

__all__ = ["FORMATS", "graph"]


def _json(choreography: Choreography) -> str:
    painted = picture(choreography)
    content = {
        "choreography": choreography.name,
        "nodes": [asdict(box) for box in painted.boxes],
        "edges": [asdict(arrow) for arrow in painted.arrows],
    }
    return orjson.dumps(content, option=orjson.OPT_INDENT_2).decode() + "\n"


def _svg(choreography: Choreography) -> str:
    return drawn(choreography.name, picture(choreography))


_SHAPES: Final = {
    "step": "shape=box",
    "undo": 'shape=box style="rounded,dashed"',
    "pivot": "shape=hexagon",
    "follow": "shape=box style=rounded",
    "start": 'shape=box style="rounded,filled" fillcolor="#f3f4f6"',
    "end": "shape=box style=rounded peripheries=2",
}


def _dot(choreography: Choreography) -> str:
    painted = picture(choreography)
    lines = [f"digraph {_quoted(choreography.name)} {{", "  node [fontname=sans];"]
    for number, participant in enumerate(dict.fromkeys(box.group for box in painted.boxes)):
        nodes = [
            f"{_quoted(box.id)} [label={_quoted(_words(box))} {_SHAPES[box.kind]}];"
            for box in painted.boxes
            if box.group == participant
        ]
        if participant:
            lines.append(f"  subgraph cluster_{number} {{ label={_quoted(participant)};")
            lines += [f"    {node}" for node in nodes]
            lines.append("  }")
        else:
            lines += [f"  {node}" for node in nodes]
    for arrow in painted.arrows:
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
    "mermaid": mermaid,
    "dot": _dot,
    "json": _json,
    "svg": _svg,
}


def graph(choreography: Choreography, format: str = "mermaid") -> str:
    """The flow of a choreography in one of ``FORMATS``."""
    return FORMATS[format](choreography)
