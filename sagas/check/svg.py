"""The picture of a flow as SVG: readable in light and dark, and without any script or font."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from sagas.check.figure import Label, Line, Placed, Point
from sagas.check.layout import arranged
from sagas.picture import Picture

__all__ = ["drawn"]

RADIUS = 8.0

_STYLE: Final = """
  .paper { fill: #ffffff }
  text { font: 14px system-ui, sans-serif; fill: #1f2328; text-anchor: middle }
  .small { font-size: 11px; fill: #59636e }
  .event { font-size: 11.5px; fill: #24508c; paint-order: stroke; stroke: #ffffff;
    stroke-width: 5px; stroke-linejoin: round }
  .event.back { fill: #9a3d12 }
  .box { stroke-width: 1.5; fill: #eef4fd; stroke: #3d6fb4 }
  .undo, .compensated { fill: #fdf1ea; stroke: #bf5a26 }
  .undo { stroke-dasharray: 5 3 }
  .pivot { fill: #fff5cf; stroke: #8f6c00; stroke-width: 3 }
  .start, .follow { fill: #f3f4f6; stroke: #7d8590 }
  .completed { fill: #e6f5ea; stroke: #2c7a4b }
  .line { fill: none; stroke: #3d6fb4; stroke-width: 1.6 }
  .line.back { stroke: #bf5a26; stroke-dasharray: 5 3 }
  .tip { fill: #3d6fb4 } .tip.back { fill: #bf5a26 }
  @media (prefers-color-scheme: dark) {
    .paper { fill: #0d1117 }
    text { fill: #e6edf3 } .small { fill: #9aa4b0 }
    .event { fill: #9cc3ff; stroke: #0d1117 } .event.back { fill: #ffb38a }
    .box { fill: #13233c; stroke: #6ea3f2 }
    .undo, .compensated { fill: #2c1a10; stroke: #e88a55 }
    .pivot { fill: #2e2604; stroke: #dcb13a }
    .start, .follow { fill: #1c2128; stroke: #8b949e }
    .completed { fill: #10281a; stroke: #57b37c }
    .line { stroke: #6ea3f2 } .line.back { stroke: #e88a55 }
    .tip { fill: #6ea3f2 } .tip.back { fill: #e88a55 }
  }
"""
_TIPS: Final = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    f'orient="auto"><path class="tip{more}" d="M0 0L8 4L0 8z"/></marker>'
    for name, more in (("on", ""), ("back", " back"))
)


def drawn(title: str, picture: Picture) -> str:
    """The picture as one SVG document."""
    drawing = arranged(picture)
    width, height = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f"<defs>{_TIPS}</defs>",
        f'<rect class="paper" width="{width}" height="{height}" rx="12"/>',
        *map(_path, drawing.lines),
        # Above all lines, which they would be crossed out by.
        *map(_event, drawing.labels),
        *map(_box, drawing.boxes),
    ]
    return "\n".join([*lines, "</svg>"]) + "\n"


def _path(line: Line) -> str:
    kind, tip = ("line back", "back") if line.back else ("line", "on")
    return f'<path class="{kind}" marker-end="url(#{tip})" d="{_rounded(line.points)}"/>'


def _rounded(points: Sequence[Point]) -> str:
    """From corner to corner, with the corners rounded as far as there is room."""
    way = [f"M{points[0][0]:g} {points[0][1]:g}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        (x1, y1), (x2, y2) = _towards(corner, before), _towards(corner, after)
        way.append(f"L{x1:g} {y1:g}Q{corner[0]:g} {corner[1]:g} {x2:g} {y2:g}")
    return "".join([*way, f"L{points[-1][0]:g} {points[-1][1]:g}"])


def _towards(corner: Point, other: Point) -> Point:
    (x, y), (there_x, there_y) = corner, other
    length = abs(there_x - x) + abs(there_y - y)  # lines are level or upright
    part = min(RADIUS, length / 2) / length if length else 0.0
    return x + (there_x - x) * part, y + (there_y - y) * part


def _event(label: Label) -> str:
    kind = "event back" if label.back else "event"
    return (
        f'<text class="{kind}" x="{label.x:g}" y="{label.y:g}" '
        f'style="text-anchor:{label.anchor}">{escape(label.text)}</text>'
    )


def _box(placed: Placed) -> str:
    box, height = placed.box, placed.height
    kind = box.label if box.kind == "end" else box.kind
    radius = {"step": 6, "pivot": 6, "undo": 12, "follow": 12}.get(box.kind, height / 2)
    shape = (
        f'<rect class="box {kind}" x="{placed.left:g}" y="{placed.y - height / 2:g}" '
        f'width="{placed.width:g}" height="{height:g}" rx="{radius:g}"/>'
    )
    return shape + "".join(_lines(placed))


def _lines(placed: Placed) -> Iterable[str]:
    """The words in a box, as a block around its middle: participant, name, notes."""
    box = placed.box
    small = box.kind == "start"
    names = [(line, small) for line in box.label.split("\n")]
    words = [*([(box.group, True)] if box.group else []), *names]
    words += [(note, True) for note in box.notes]
    y = placed.y - sum(map(_leading, words)) / 2
    for word in words:
        y += _leading(word)
        kind = ' class="small"' if word[1] else ""
        yield f'<text{kind} x="{placed.x:g}" y="{y - 3.5:g}">{escape(word[0])}</text>'


def _leading(word: tuple[str, bool]) -> float:
    return 14.0 if word[1] else 17.0
