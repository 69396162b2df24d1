"""``sagas graph`` and ``sagas canvas``: what they show is all there, and can be read."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import combinations, pairwise
from typing import Any

import orjson
import pytest

from participants.choreography import shop
from sagas import Choreography, Event, Participant
from sagas.check.canvas import canvas
from sagas.check.drawing import FORMATS, graph
from sagas.check.figure import Drawing, Placed, wanted_width
from sagas.check.layout import arranged
from sagas.picture import picture
from tests.check.stories import STORIES, cancellable
from tests.check.town import (
    AskToCancel,
    CancelAsked,
    Departed,
    Extra,
    Further,
    Note,
    Start,
    TripCancelled,
    TripStarted,
    command,
    step,
    undo,
)


class Left(Event): ...


class NoLeft(Event): ...


class LeftUndone(Event): ...


class Right(Event): ...


class NoRight(Event): ...


class RightUndone(Event): ...


class StormWarning(Event):
    origin = "the weather service"


def fork() -> Choreography:
    """Two ways at once that meet again, undos that start each other, and ways past all of them."""
    who: dict[str, Participant[Any]] = {
        name: Participant(name, state=Note) for name in ("start", "left", "right", "meet", "tail")
    }
    begin = step(who["start"], "begin", on=Start, emits=[TripStarted], effect=False)
    undo(begin, "give_up", on=[LeftUndone, RightUndone, NoLeft], emits=[TripCancelled])
    command(who["start"], "ask", AskToCancel, CancelAsked)
    go_left = step(who["left"], "go_left", on=TripStarted, emits=[Left], refuses=[NoLeft, Extra])
    undo(go_left, "come_back_left", on=[NoRight, CancelAsked], emits=[LeftUndone])
    go_right = step(who["right"], "go_right", on=TripStarted, emits=[Right], refuses=[NoRight])
    undo(go_right, "come_back_right", on=[NoLeft, StormWarning], emits=[RightUndone])
    meeting = {"on": [Left, Right], "emits": [Departed, Further], "refuses": [NoRight]}
    step(who["meet"], "meet_again_where_both_ways_end", pivot=True, **meeting)
    step(who["tail"], "tell", on=[TripStarted, Departed], emits=[Extra], kept_on=[NoLeft])
    return Choreography(
        "fork", [*who.values()], completed_by=[Further, Extra], compensated_by=[TripCancelled]
    )


PICTURES = {
    "shop": shop,
    "fork": fork(),
    **{each.make.__name__: each.make(True).choreography for each in STORIES},
}


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize("name", ["shop", "fork"])
def test_each_drawing_names_every_step_undo_and_event(name: str, format: str) -> None:
    choreography = PICTURES[name]
    drawn = graph(choreography, format)
    for node in choreography.nodes():
        assert node.name in drawn
    for edge in choreography.edges():
        assert edge.event in drawn
    assert drawn == graph(choreography, format)
    assert drawn.endswith("\n")


def _drawing(choreography: Choreography) -> Drawing:
    return arranged(picture(choreography))


def _apart(one: Placed, other: Placed) -> bool:
    beside = abs(one.x - other.x) >= (one.width + other.width) / 2
    return beside or abs(one.y - other.y) >= (one.height + other.height) / 2


@pytest.mark.parametrize("name", PICTURES)
def test_boxes_stand_apart_and_lines_run_around_them(name: str) -> None:
    drawing = _drawing(PICTURES[name])
    for one, other in combinations(drawing.boxes, 2):
        assert _apart(one, other), (one.box.id, other.box.id)
    for line in drawing.lines:
        for (x1, y1), (x2, y2) in pairwise(line.points):
            assert x1 == x2 or y1 == y2, "lines are level or upright"
            for box in drawing.boxes:
                inside_x = min(x1, x2) < box.right - 1 and max(x1, x2) > box.left + 1
                low, high = box.y - box.height / 2, box.y + box.height / 2
                inside_y = min(y1, y2) < high - 1 and max(y1, y2) > low + 1
                assert not (inside_x and inside_y), box.box.id


@pytest.mark.parametrize("name", PICTURES)
def test_everything_is_on_the_paper_and_no_name_covers_another(name: str) -> None:
    drawing = _drawing(PICTURES[name])
    for box in drawing.boxes:
        assert box.left >= 0
        assert box.right <= drawing.width
        assert box.y + box.height / 2 <= drawing.height
        assert box.width >= wanted_width(box.box)
    for label in drawing.labels:
        assert label.left >= 0
        assert label.left + label.width <= drawing.width
        in_box = [
            box.box.id
            for box in drawing.boxes
            if box.left < label.left + label.width
            and label.left < box.right
            and abs(label.y - 4 - box.y) < box.height / 2
        ]
        assert in_box == [], label.text
    for one, other in combinations(drawing.labels, 2):
        level = abs(one.y - other.y) < 10
        beside = one.left < other.left + other.width and other.left < one.left + one.width
        assert not (level and beside), (one.text, other.text)


def test_steps_go_down_in_the_order_of_the_flow_and_undos_stand_beside_them() -> None:
    boxes = {box.box.id: box for box in _drawing(shop).boxes}
    steps = [boxes[step.name] for step in shop.steps]
    assert [box.y for box in steps] == sorted(box.y for box in steps)
    for each in shop.steps:
        if each.undo is not None:
            assert boxes[each.undo.name].y == boxes[each.name].y
            assert boxes[each.undo.name].x > boxes[each.name].x
    assert boxes["compensated"].y < steps[0].y < steps[-1].y < boxes["completed"].y


def test_a_follower_that_passes_an_event_on_stands_between() -> None:
    """Without it the picture would have an end that nothing leads to."""
    choreography = PICTURES["a_full_hotel_ends_nothing"]
    boxes = {box.box.id: box for box in _drawing(choreography).boxes}
    assert boxes["compensated"].y < boxes["call_it_off"].y < boxes["free_room"].y
    assert boxes["call_it_off"].x == boxes["free_room"].x, "it is on the way back"
    assert "call_it_off -. TripCancelled .-> compensated" in graph(choreography, "mermaid")
    forward = PICTURES["nothing_stops_a_gate_that_never_refuses"]
    boxes = {box.box.id: box for box in _drawing(forward).boxes}
    assert boxes["book_flight"].y < boxes["board"].y < boxes["close_gate"].y
    assert boxes["board"].x == boxes["close_gate"].x


def test_the_svg_is_well_formed_and_dresses_for_light_and_dark() -> None:
    root = ElementTree.fromstring(graph(cancellable().choreography, "svg"))
    assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
    style = root.findtext("{http://www.w3.org/2000/svg}style") or ""
    light, _, dark = style.partition("@media (prefers-color-scheme: dark)")
    classes = {
        name
        for each in root.iter()
        if not each.tag.endswith("svg")
        for name in each.attrib.get("class", "").split()
    }
    for name in classes - {"step", "back", "compensated"}:
        assert f".{name}" in light, name
        assert f".{name}" in dark, name


def test_odd_names_cannot_break_a_drawing() -> None:
    who: Participant[Any] = Participant('a "b" <c> & \\d', state=Note)
    step(who, "end", on=Start, emits=[Departed], effect=False)
    odd = Choreography('"odd" <&>', [who], completed_by=[Departed], compensated_by=[])
    root = ElementTree.fromstring(graph(odd, "svg"))
    assert 'a "b" <c> & \\d' in [each.text for each in root.iter()]
    assert 'label="a \\"b\\" <c> & \\\\d"' in graph(odd, "dot")
    assert orjson.loads(graph(odd, "json"))["choreography"] == '"odd" <&>'
    # Mermaid takes a node called `end` for the end of its subgraph.
    drawn = graph(odd, "mermaid")
    assert '    end_["end"]\n  end\n' in drawn
    assert 'participant_0["a #quot;b#quot;' in drawn


def test_nothing_to_draw_is_an_empty_picture() -> None:
    empty = Choreography("empty", [], completed_by=[], compensated_by=[])
    for format in FORMATS:
        assert graph(empty, format)
    ElementTree.fromstring(graph(empty, "svg"))


def test_the_dot_is_balanced_and_the_json_agrees_with_the_choreography() -> None:
    choreography = cancellable().choreography
    dot = graph(choreography, "dot")
    assert dot.count("{") == dot.count("}")
    assert 'label="depart\\npivot: no way back"' in dot
    told = orjson.loads(graph(choreography, "json"))
    ids = {node["id"] for node in told["nodes"]}
    assert {node.id for node in choreography.nodes()} < ids
    assert all({edge["source"], edge["target"]} <= ids for edge in told["edges"])


def test_the_canvas_tells_each_participants_part() -> None:
    page = canvas(cancellable().choreography)
    assert "| `RoomBooked` | **book_flight** | `FlightBooked` | `FlightRefused` |" in page
    assert "cancel_flight | `CancelAsked` | `FlightCancelled`, `TooLate` |" in page
    assert "| `TowerReport` (tower) | **depart** (pivot) |" in page
    assert "| `AskToCancel` (POST /trips/{id}/cancel) | ask_to_cancel | `CancelAsked` |" in page


def test_the_canvas_tells_timers_and_documents_beside_the_saga() -> None:
    page = canvas(shop)
    assert "| the `deadline` timer | deadline_passes | `CancellationRequested` |" in page
    assert "put_item (in carts) |" in page
    for participant in shop.participants:
        assert f"\n## {participant.name}\n" in page
        for reaction in participant.reactions():
            assert reaction.name in page
