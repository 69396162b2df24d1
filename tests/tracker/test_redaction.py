"""Secret and personal fields never reach what the tracker stores."""

from __future__ import annotations

import json
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field

from sagas.envelope import Event, Message, event_type
from sagas.tracker import Plan, Redaction
from sagas.tracker.redaction import scrubbed
from tests.tracker import toy
from tests.tracker.history import History, folded, ordered, shown

HIDDEN = "[redacted]"


def _read(redaction: Redaction, event: BaseModel, *, here: bool, **changes: Any) -> dict[str, Any]:
    """What is kept of an event that was made in this process, or came over the wire."""
    message = Message(
        id="1",
        type=changes.pop("type", event_type(type(event))),
        source="/x",
        subject="1",
        saga_id="1",
        time=0.0,
        data=orjson.dumps({**event.model_dump(mode="json"), **changes}),
        event=event if here else None,
    )
    kept: dict[str, Any] = orjson.loads(redaction.text(message))
    return kept


def test_marked_fields_are_hidden_at_every_depth(plan: Plan) -> None:
    event = ordered(notes={"door": "code 77"}, friends=(toy.Place(street="2 Side St", floor=1),))
    for here in (True, False):
        kept = _read(plan.redaction, event, here=here)
        assert kept == {
            "guest": "ada",
            "card": HIDDEN,
            "parcel": "small",
            "place": {"street": HIDDEN, "floor": 3},
            "notes": {"door": HIDDEN},
            "friends": [{"street": HIDDEN, "floor": 1}],
        }


def test_what_is_unknown_here_is_hidden(plan: Plan) -> None:
    kept = _read(plan.redaction, toy.Baked(), here=False, card="4000-1234", parcel={"card": "4"})
    assert kept == {"parcel": HIDDEN, "card": HIDDEN}

    kept = _read(plan.redaction, ordered(), here=False, type="SomethingElse")
    assert set(kept.values()) == {HIDDEN}


def test_what_is_no_object_leaves_nothing(plan: Plan) -> None:
    for raw in (b'"4000-1234"', b'["4000-1234"]', b"not json", b"null"):
        message = Message(
            id="1", type="Ordered", source="/x", subject="1", saga_id="1", time=0.0, data=raw
        )
        assert plan.redaction.text(message) == "{}"


class Leaf(BaseModel):
    pin: Annotated[int, Field(json_schema_extra={"sensitive": True})]
    name: str


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")


class Tree(Event):
    either: Leaf | str | None = None
    many: list[Leaf | None] = []
    deep: dict[str, tuple[Leaf, ...]] = {}
    child: Tree | None = None
    free: Any = None
    named: Annotated[str | None, Field(alias="otherName")] = None
    inside: list[Annotated[str, Field(json_schema_extra={"sensitive": True})]] = []


def test_any_shape_of_declaration_is_understood() -> None:
    redaction = Redaction({"Tree": Tree, "Open": Open})
    leaf = Leaf(pin=1234, name="oak")
    shown_leaf = {"pin": HIDDEN, "name": "oak"}
    tree = Tree(
        either=leaf,
        many=[leaf, None],
        deep={"a": (leaf,)},
        child=Tree(either="plain", inside=["secret"]),
        free={"x": 1},
    )
    for here in (True, False):
        kept = _read(redaction, tree, here=here)
        assert kept["either"] == shown_leaf
        assert kept["many"] == [shown_leaf, None]
        assert kept["deep"] == {"a": [shown_leaf]}
        assert kept["child"]["either"] == "plain"
        assert kept["child"]["inside"] in (HIDDEN, [HIDDEN])
        assert kept["free"] == {"x": 1}
    assert _read(redaction, tree, here=False, otherName="x")["otherName"] == "x"
    assert _read(redaction, Open.model_validate({"pin": 1234}), here=True) == {"pin": HIDDEN}


def test_neither_view_nor_resource_holds_a_secret(plan: Plan, history: History) -> None:
    history.tell(ordered(notes={"door": "code 77"}), toy.Baked())

    for text in (
        folded(history.messages, plan).model_dump_json(),
        repr(shown(history.messages, plan)),
    ):
        for secret in ("4000-1234", "1 Main St", "code 77"):
            assert secret not in text


def test_errors_are_scrubbed_of_what_their_message_hides() -> None:
    removed = {"4000-1234", "Zo\u00eb's\nLane", "US"}
    error = "no oven for '4000-1234' in the USSR (input_value={'card': '40...'}, input_type=dict)"

    assert scrubbed(error, removed) == (
        "no oven for '[redacted]' in the USSR (input_value=[redacted], input_type=dict)"
    )
    for quoted in (
        repr("Zo\u00eb's\nLane"),
        json.dumps("Zo\u00eb's\nLane"),
        "'Zo\u00eb\\'s\\nLane\"'",
    ):
        assert "Lane" not in scrubbed(quoted, removed)
