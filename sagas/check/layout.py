"""Where everything in the picture of a flow stands.

One row for each step, in the order of the flow. Steps go down on the left, their undos up on the
right, each undo beside its step. What comes from outside stands above the first step, below the
last undo, or at the edges. Arrows between neighbours are straight, all others run through a
channel: one beside the steps, one beside the undos, one in between. All that lead to the same box
share a trunk there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sagas.check.figure import (
    EVENT_PX,
    HEIGHT,
    MARGIN,
    Drawing,
    Label,
    Line,
    Placed,
    Point,
    wanted_width,
)
from sagas.picture import Arrow, Box, Picture

__all__ = ["arranged"]

GAP: Final = 46.0
TRACK: Final = 16.0
#: How far below its middle a box is entered from the channel beside its column.
ARRIVAL: Final = 22.0


def arranged(picture: Picture) -> Drawing:
    """Place every box and route every arrow."""
    return _Arrangement(picture).drawing


class _Arrangement:
    def __init__(self, picture: Picture) -> None:
        self.drawing = Drawing()
        self.boxes = {box.id: box for box in picture.boxes}
        is_start = {box.id: box.kind == "start" for box in picture.boxes}
        self.arrows = [each for each in picture.arrows if not is_start[each.source]]
        self.starting = [each for each in picture.arrows if is_start[each.source]]
        self.row = self._rows()
        self.placed: dict[str, Placed] = {}
        self.straight = {each for each in self.arrows if self._is_straight(each)}
        #: Channel → the boxes that its trunks lead to, in the order of the tracks.
        self.tracks: dict[str, list[str]] = {"steps": [], "between": [], "undos": []}
        for each in self.arrows:
            trunks = self.tracks[self._channel(each)]
            if each not in self.straight and each.target not in trunks:
                trunks.append(each.target)
        for trunks in self.tracks.values():
            # The higher its target, the longer the trunk: so the fewest lines cross.
            trunks.sort(key=lambda id_: self.row[id_])
        self._place()
        for each in self.arrows:
            self._draw(each)
        self._draw_starts()

    # ---------------------------------------------------------------------------------- rows

    def _rows(self) -> dict[str, int]:
        """Steps from 1 on, each behind those that lead to it; their undos beside them."""
        owners = [id_ for id_, box in self.boxes.items() if box.kind in ("step", "pivot", "follow")]
        above: dict[str, set[str]] = {id_: set() for id_ in owners}
        for arrow in self.arrows:
            source, target = self._owner(arrow.source), self._owner(arrow.target)
            if self.boxes[arrow.target].kind == "follow" and arrow.back:
                above[source].add(target)  # on the way back, and that goes up
            elif source in above and target in above and not arrow.back:
                above[target].add(source)
        order: list[str] = []
        while len(order) < len(owners):
            waiting = [id_ for id_ in owners if id_ not in order]
            ready = [id_ for id_ in waiting if above[id_] <= {*order, id_}]
            order.append((ready or waiting)[0])  # a cycle is broken where it was declared first
        rows = {id_: number for number, id_ in enumerate(order, 1)}
        for id_, box in self.boxes.items():
            if box.kind == "undo":
                rows[id_] = rows[box.beside]
            elif box.kind == "end":
                rows[id_] = 0 if self._comes_back(id_) else len(owners) + 1
        return rows

    def _owner(self, id_: str) -> str:
        """The box whose row this one stands in."""
        return self.boxes[id_].beside or id_

    def _comes_back(self, id_: str) -> bool:
        """Whether only what failed or was undone leads here."""
        into = [arrow.back for arrow in self.arrows if arrow.target == id_]
        return bool(into) and all(into)

    def _is_undo(self, id_: str) -> bool:
        """Whether it stands in the column of the undos."""
        kind = self.boxes[id_].kind
        return kind == "undo" or (kind in ("follow", "end") and self._comes_back(id_))

    def _is_straight(self, arrow: Arrow) -> bool:
        """Down from a step to the next, or up from an undo, with no box in between."""
        side = self._is_undo(arrow.source)
        if self._is_undo(arrow.target) is not side:
            return False
        there, here = self.row[arrow.target], self.row[arrow.source]
        if there == here or (there < here) is not side:
            return False
        low, high = sorted((here, there))
        return not any(
            low < row < high and self._is_undo(id_) is side for id_, row in self.row.items()
        )

    def _channel(self, arrow: Arrow) -> str:
        sides = {self._is_undo(arrow.source), self._is_undo(arrow.target)}
        return "between" if len(sides) == 2 else "undos" if True in sides else "steps"

    # --------------------------------------------------------------------------------- places

    def _place(self) -> None:
        boxes = [self.boxes[id_] for id_ in self.row]
        width = max((wanted_width(box) for box in boxes), default=0.0)
        over, over_undos = (self._overhang(width, is_undo=is_undo) for is_undo in (False, True))
        steps_x = MARGIN + width / 2 + over
        left = self._at_edge(is_undo=False)
        if left or self.tracks["steps"]:
            steps_x += self._edge_width(left) + self._room("steps", left)
        undos_x = steps_x + width + self._room("between", []) + over + over_undos
        for id_, row in self.row.items():
            y = MARGIN + HEIGHT / 2 + row * (HEIGHT + GAP)
            x = undos_x if self._is_undo(id_) else steps_x
            self.placed[id_] = Placed(self.boxes[id_], x, y, width)
        self.drawing.boxes += self.placed.values()

    def _overhang(self, width: float, *, is_undo: bool) -> float:
        """How far what stands above or below a column is wider than its boxes, to each side."""
        starts = [each for each in self.starting if self._is_in_line(each.target)]
        own = [each.source for each in starts if self._is_undo(each.target) is is_undo]
        widest = max((wanted_width(self.boxes[id_]) for id_ in own), default=0.0)
        return max(0.0, (widest - width) / 2)

    def _is_in_line(self, target: str) -> bool:
        """Whether what starts it stands in its column: the first step, or the last undo."""
        if not self._is_undo(target):
            return self.row[target] == 1
        return all(row <= self.row[target] for id_, row in self.row.items() if self._is_undo(id_))

    def _at_edge(self, *, is_undo: bool) -> list[Arrow]:
        """The arrows that start steps, or undos, from the edge."""
        return [
            each
            for each in self.starting
            if self._is_undo(each.target) is is_undo and not self._is_in_line(each.target)
        ]

    def _room(self, channel: str, starting: Iterable[Arrow]) -> float:
        """The width of a channel: names of events, then the tracks."""
        named = [each for each in self.arrows if each not in self.straight]
        events = [each.event for each in named if self._channel(each) == channel]
        events += [each.event for each in starting]
        tracks = TRACK * (len(self.tracks[channel]) + 1)
        return max((len(event) * EVENT_PX for event in events), default=0.0) + tracks + 8

    def _edge_width(self, starting: Iterable[Arrow]) -> float:
        return max((wanted_width(self.boxes[each.source]) for each in starting), default=0.0)

    # --------------------------------------------------------------------------------- arrows

    def _draw(self, arrow: Arrow) -> None:
        source, target = self.placed[arrow.source], self.placed[arrow.target]
        if arrow in self.straight:
            down = 1 if target.y > source.y else -1
            start, end = source.y + down * HEIGHT / 2, target.y - down * HEIGHT / 2
            self._line(arrow, (source.x, start), (target.x, end))
            # Several events of one arrow are names of one line.
            same = [each for each in self.arrows if _ends(each) == _ends(arrow)]
            if arrow == same[0]:
                self._labels(same, source.x + 8, source.y + down * (HEIGHT + GAP) / 2 + 4)
            return
        channel = self._channel(arrow)
        out = -1 if channel == "steps" or (channel == "between" and source.x > target.x) else 1
        into = out if channel != "between" else -out
        x = self._track(channel, arrow.target)
        start_y, end_y = source.y + self._slot(arrow), target.y
        if channel != "between":
            end_y += ARRIVAL if target.box.kind != "end" else 0.0
        start_x = source.right if out > 0 else source.left
        end_x = target.right if into > 0 else target.left
        self._line(arrow, (start_x, start_y), (x, start_y), (x, end_y), (end_x, end_y))
        anchor = "start" if out > 0 else "end"
        if arrow == self._of_event(arrow)[0]:
            self._label(arrow, start_x + out * 8, start_y - 6, anchor)

    def _of_event(self, arrow: Arrow) -> list[Arrow]:
        """The arrows by which one event leaves a box into one channel: they share a start."""
        return [
            each
            for each in self.arrows
            if each not in self.straight
            and (each.source, each.event) == (arrow.source, arrow.event)
            and self._channel(each) == self._channel(arrow)
        ]

    def _slot(self, arrow: Arrow) -> float:
        """How far below the middle of its box an event leaves it; arrows arrive at the middle."""
        events = [
            each.event
            for each in self.arrows
            if each.source == arrow.source
            and each not in self.straight
            and self._channel(each) == self._channel(arrow)
        ]
        names = list(dict.fromkeys(events))
        first, last = (-8.0, 16.0) if self._channel(arrow) == "between" else (-14.0, 10.0)
        if len(names) == 1:
            return last
        return first + (last - first) * names.index(arrow.event) / (len(names) - 1)

    def _track(self, channel: str, target: str) -> float:
        trunks = self.tracks[channel]
        place = trunks.index(target)
        steps = [each for id_, each in self.placed.items() if not self._is_undo(id_)]
        undos = [each for id_, each in self.placed.items() if self._is_undo(id_)]
        # The longest are the outermost, beyond the names of events.
        if channel == "steps":
            return steps[0].left - self._room(channel, []) + 8 + TRACK * (len(trunks) - 1 - place)
        if channel == "undos":
            return undos[0].right + self._room(channel, []) - 8 - TRACK * place
        over = self._overhang(undos[0].width, is_undo=True)
        return undos[0].left - 8 - over - TRACK * (len(trunks) - place)

    def _draw_starts(self) -> None:
        """What comes from outside beside what it starts, its events on one line."""
        by_target: dict[str, list[Arrow]] = {}
        for arrow in self.starting:
            by_target.setdefault(arrow.target, []).append(arrow)
        for id_, starting in by_target.items():
            words = [self.boxes[each.source].label.split("\n") for each in starting]
            labels = list(dict.fromkeys(line for lines in words for line in lines))
            box = Box(starting[0].source, "\n".join(labels), "", "start")
            draw = self._draw_in_line if self._is_in_line(id_) else self._draw_at_edge
            draw(box, max(34.0, 14.0 * len(labels) + 16), self.placed[id_], starting)

    def _draw_in_line(
        self, box: Box, height: float, target: Placed, starting: Sequence[Arrow]
    ) -> None:
        away = 1 if self._is_undo(target.box.id) else -1
        middle = target.y + away * (HEIGHT / 2 + GAP + height / 2)
        placed = Placed(box, target.x, middle, max(wanted_width(box), 120.0), height)
        self.drawing.boxes.append(placed)
        start, end = target.y + away * (HEIGHT / 2 + GAP), target.y + away * HEIGHT / 2
        self._line(starting[0], (target.x, start), (target.x, end))
        self._labels(starting, target.x + 8, (start + end) / 2 + 4)

    def _draw_at_edge(
        self, box: Box, height: float, target: Placed, starting: Sequence[Arrow]
    ) -> None:
        is_undo = self._is_undo(target.box.id)
        out, edge = (1, target.right) if is_undo else (-1, target.left)
        beside = self._at_edge(is_undo=is_undo)
        width = self._edge_width(beside)
        x = MARGIN + width / 2
        if is_undo:
            x = target.right + self._room("undos", beside) + width / 2
        self.drawing.boxes.append(Placed(box, x, target.y, width, height))
        start = x - out * width / 2
        self._line(starting[0], (start, target.y), (edge, target.y))
        for number, each in enumerate(starting):
            y = target.y + (-6 if number == 0 else 2 + 13 * number)
            self._label(each, start - out * 8, y, "end" if out > 0 else "start")

    def _labels(self, arrows: Sequence[Arrow], x: float, y: float) -> None:
        """The events of one upright line, below each other around its middle."""
        for number, each in enumerate(arrows):
            self._label(each, x, y + 13 * number - 6.5 * (len(arrows) - 1), "start")

    def _line(self, arrow: Arrow, *points: Point) -> None:
        self.drawing.lines.append(Line(points, arrow.back))

    def _label(self, arrow: Arrow, x: float, y: float, anchor: str) -> None:
        self.drawing.labels.append(Label(arrow.event, x, y, anchor, arrow.back))


def _ends(arrow: Arrow) -> tuple[str, str]:
    return arrow.source, arrow.target
