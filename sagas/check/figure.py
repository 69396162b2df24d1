"""What a drawing is made of: boxes, lines and labels, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sagas.picture import Box

__all__ = [
    "EVENT_PX",
    "HEIGHT",
    "MARGIN",
    "Drawing",
    "Label",
    "Line",
    "Placed",
    "Point",
    "wanted_width",
]

MARGIN: Final = 24.0
HEIGHT: Final = 58.0
#: Widths of letters in the three sizes, generously: whose font it will be is not known.
NAME_PX: Final = 8.0
NOTE_PX: Final = 6.3
EVENT_PX: Final = 6.7

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Placed:
    """A box around its centre."""

    box: Box
    x: float
    y: float
    width: float
    height: float = HEIGHT

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2


@dataclass(frozen=True, slots=True)
class Line:
    """An arrow's way, from corner to corner."""

    points: tuple[Point, ...]
    back: bool


@dataclass(frozen=True, slots=True)
class Label:
    """``anchor``: which end of the text ``x`` is, as in SVG."""

    text: str
    x: float
    y: float
    anchor: str
    back: bool

    @property
    def width(self) -> float:
        return len(self.text) * EVENT_PX

    @property
    def left(self) -> float:
        return self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * self.width


def wanted_width(box: Box) -> float:
    """Room for the longest line of a box."""
    name_px = NOTE_PX + 0.6 if box.kind == "start" else NAME_PX
    names = [len(line) * name_px for line in box.label.split("\n")]
    notes = [len(line) * NOTE_PX for line in (box.group, *box.notes)]
    return max(*names, *notes) + 28


@dataclass(slots=True)
class Drawing:
    """The finished picture, to be drawn by whoever can draw."""

    boxes: list[Placed] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)

    @property
    def width(self) -> float:
        edges = [box.right for box in self.boxes]
        edges += [label.left + label.width for label in self.labels]
        return max(edges, default=0.0) + MARGIN

    @property
    def height(self) -> float:
        return max((box.y + box.height / 2 for box in self.boxes), default=0.0) + MARGIN
