"""What the picture of a flow is made of: boxes, arrows, and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

__all__ = [
    "EVENT_PX",
    "HEIGHT",
    "MARGIN",
    "Arrow",
    "Box",
    "Drawing",
    "Label",
    "Line",
    "Placed",
    "Point",
]

MARGIN: Final = 24.0
HEIGHT: Final = 58.0
#: Widths of letters in the three sizes, generously: whose font it will be is not known.
NAME_PX: Final = 8.0
NOTE_PX: Final = 6.3
EVENT_PX: Final = 6.7

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """``kind`` is step, undo, pivot, start or end; ``group`` the participant.

    ``beside``: the step that an undo undoes, or the box that a start leads to. ``notes`` stand
    below the label.
    """

    id: str
    label: str
    group: str
    kind: str
    beside: str = ""
    notes: tuple[str, ...] = ()

    @property
    def wanted_width(self) -> float:
        """Room for its longest line."""
        name_px = NOTE_PX + 0.6 if self.kind == "start" else NAME_PX
        names = [len(line) * name_px for line in self.label.split("\n")]
        notes = [len(line) * NOTE_PX for line in (self.group, *self.notes)]
        return max(*names, *notes) + 28


@dataclass(frozen=True, slots=True)
class Arrow:
    """``event`` leads from one box to another; ``back``: something failed or is undone."""

    source: str
    target: str
    event: str
    back: bool


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
