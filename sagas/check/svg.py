"""A small layered drawing: each box below what leads to it, arrows as curves.

The steps of Sugiyama's method, each in its simplest form: layers by the longest way from a start
(arrows that would close a cycle left aside), order within a layer by the middle of the neighbours
above, then coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Final

__all__ = ["Arrow", "Box", "drawn"]

WIDTH, HEIGHT = 176, 46
GAP_X, GAP_Y = 44, 74
MARGIN = 24

_STYLE: Final = """
  text { font: 13px system-ui, sans-serif; fill: #1c2430; text-anchor: middle }
  .group { font-size: 10px; fill: #66707f }
  .event { font-size: 11px; fill: #3a4554; paint-order: stroke; stroke: #fff; stroke-width: 4px }
  rect { fill: #eef3fb; stroke: #4a6fa5 }
  .undo { fill: #fdf1ec; stroke: #b5603c; stroke-dasharray: 5 3 }
  .pivot { fill: #fff6d6; stroke: #a98400; stroke-width: 2.5 }
  .start, .end { fill: #f2f2f2; stroke: #666 }
  path { fill: none; stroke: #4a6fa5; stroke-width: 1.4 }
  .back { stroke: #b5603c; stroke-dasharray: 5 3 }
"""


@dataclass(frozen=True, slots=True)
class Box:
    """``kind`` is step, undo, pivot, start or end; ``group`` the participant."""

    id: str
    label: str
    group: str
    kind: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """``event`` leads from one box to another; ``back``: something failed or is undone."""

    source: str
    target: str
    event: str
    back: bool


def drawn(title: str, boxes: list[Box], arrows: list[Arrow]) -> str:
    """The picture as one SVG document."""
    layers = _ordered(_layers(boxes, arrows), arrows)
    widest = max((len(layer) for layer in layers), default=1)
    width = 2 * MARGIN + widest * (WIDTH + GAP_X)
    height = 2 * MARGIN + len(layers) * (HEIGHT + GAP_Y)
    places = _places(layers, width)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#4a6fa5;stroke:none"/></marker></defs>',
        f'<rect width="{width}" height="{height}" style="fill:#fff;stroke:none"/>',
    ]
    lines += [_curve(arrow, places) for arrow in arrows]
    # Names of events above all curves, those of one pair of boxes below each other.
    between: dict[tuple[str, str], int] = {}
    for arrow in arrows:
        pair = (arrow.source, arrow.target)
        between[pair] = between.get(pair, -1) + 1
        lines.append(_name(arrow, places, between[pair]))
    lines += [_box(box, *places[box.id]) for box in boxes]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _layers(boxes: list[Box], arrows: list[Arrow]) -> list[list[str]]:
    """Ids by depth: the longest way from a start along arrows that close no cycle."""
    onward: dict[str, list[str]] = {box.id: [] for box in boxes}
    for arrow in arrows:
        onward[arrow.source].append(arrow.target)
    order = _forward_order(onward)
    rank = {id_: number for number, id_ in enumerate(order)}
    depth = dict.fromkeys(order, 0)
    for here in order:
        for there in onward[here]:
            if rank[there] > rank[here]:
                depth[there] = max(depth[there], depth[here] + 1)
    layers: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for box in boxes:
        layers[depth[box.id]].append(box.id)
    return layers


def _forward_order(onward: dict[str, list[str]]) -> list[str]:
    """Depth first, each box before all it leads to, as far as cycles let it."""
    entered = {there for targets in onward.values() for there in targets}
    starts = [here for here in onward if here not in entered]
    seen: set[str] = set()
    finished: list[str] = []
    for start in [*starts, *onward]:
        stack = [(start, False)]
        while stack:
            here, done = stack.pop()
            if done:
                finished.append(here)
            elif here not in seen:
                seen.add(here)
                stack.append((here, True))
                stack += [(there, False) for there in onward[here] if there not in seen]
    return finished[::-1]


def _ordered(layers: list[list[str]], arrows: list[Arrow]) -> list[list[str]]:
    """Each layer sorted by the mean place of what leads to it from above."""
    place: dict[str, float] = {}
    ordered = []
    for layer in layers:
        middle = {
            id_: _mean([place[a.source] for a in arrows if a.target == id_ and a.source in place])
            for id_ in layer
        }
        layer = sorted(layer, key=lambda id_, middle=middle: middle[id_])  # type: ignore[misc]
        for number, id_ in enumerate(layer):
            place[id_] = number - len(layer) / 2
        ordered.append(layer)
    return ordered


def _mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else 0.0


def _places(layers: list[list[str]], width: int) -> dict[str, tuple[float, float]]:
    """The centre of each box."""
    places = {}
    for number, layer in enumerate(layers):
        left = (width - len(layer) * (WIDTH + GAP_X)) / 2
        y = MARGIN + number * (HEIGHT + GAP_Y) + HEIGHT / 2
        for column, id_ in enumerate(layer):
            places[id_] = (left + (column + 0.5) * (WIDTH + GAP_X), y)
    return places


def _box(box: Box, x: float, y: float) -> str:
    radius = {"step": 4, "pivot": 4, "undo": 14}.get(box.kind, HEIGHT / 2)
    shape = (
        f'<rect class="{box.kind}" x="{x - WIDTH / 2:g}" y="{y - HEIGHT / 2:g}" width="{WIDTH}" '
        f'height="{HEIGHT}" rx="{radius:g}"/>'
    )
    name = f'<text x="{x:g}" y="{y + (0 if box.group else 5):g}">{escape(box.label)}</text>'
    group = f'<text class="group" x="{x:g}" y="{y + 15:g}">{escape(box.group)}</text>'
    return shape + name + (group if box.group else "")


def _points(
    arrow: Arrow, places: dict[str, tuple[float, float]]
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Start and end of a curve, and how far it swings out to the side."""
    (x1, y1), (x2, y2) = places[arrow.source], places[arrow.target]
    if y2 > y1:
        return (x1, y1 + HEIGHT / 2), (x2, y2 - HEIGHT / 2), 0.0
    return (x1 + WIDTH / 2, y1), (x2 + WIDTH / 2, y2), GAP_X + (y1 - y2) / 8


def _curve(arrow: Arrow, places: dict[str, tuple[float, float]]) -> str:
    (x1, y1), (x2, y2), swing = _points(arrow, places)
    if swing:
        bend = f"C{max(x1, x2) + swing:g} {y1:g} {max(x1, x2) + swing:g} {y2:g}"
    else:
        middle = (y1 + y2) / 2
        bend = f"C{x1:g} {middle:g} {x2:g} {middle:g}"
    kind = ' class="back"' if arrow.back else ""
    return f'<path{kind} marker-end="url(#tip)" d="M{x1:g} {y1:g}{bend} {x2:g} {y2:g}"/>'


def _name(arrow: Arrow, places: dict[str, tuple[float, float]], below: int) -> str:
    (x1, y1), (x2, y2), swing = _points(arrow, places)
    x = max(x1, x2) + swing * 0.75 if swing else (x1 + x2) / 2
    y = (y1 + y2) / 2 + 4 + below * 13
    return f'<text class="event" x="{x:g}" y="{y:g}">{escape(arrow.event)}</text>'
