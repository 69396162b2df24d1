"""What one class writes, can another read it? Told from types, and held against pydantic itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, create_model

from sagas import Choreography, Event
from sagas.check import check
from sagas.check.shapes import misfits
from tests.check.town import FlightBooked, airline, desk, follow, hotel, journey


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Line(BaseModel):
    sku: str
    count: int = 1


class LineWithPrice(Line):
    price: int


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    sku: str


class Tree(BaseModel):
    name: str
    children: list[Tree] = []
    parent: Tree | None = None


class Hedge(BaseModel):
    name: int
    children: list[Hedge] = []
    parent: Hedge | None = None


#: What is sent, as what type, as what type it is read, and what is wrong with that.
CASES: list[tuple[Any, Any, Any, str | None]] = [
    ("a", str, str, None),
    ("a", str, int, "x is sent as a string and read as an integer"),
    (1, int, str, "x is sent as an integer and read as a string"),
    (1, int, float, None),
    (1.5, float, int, "x is sent as a number and read as an integer"),
    (None, int | None, int, "x is sent as null and read as an integer"),
    (1, int, int | None, None),
    ("a", int | str, int, "x is sent as a string and read as an integer"),
    ("a", str, int | bool, "x is sent as a string and read as an integer or a boolean"),
    (Decimal("1.5"), Decimal, float, None),
    (Decimal("1.5"), Decimal, Decimal, None),
    (Decimal("1.5"), Decimal, str, None),
    (datetime(2024, 1, 1), datetime, str, None),
    (datetime(2024, 1, 1), datetime, datetime, None),
    (0, int, datetime, None),
    (timedelta(1), timedelta, timedelta, None),
    (UUID(int=1), UUID, str, None),
    (SecretStr("s"), SecretStr, str, None),
    (Colour.RED, Colour, str, None),
    (Colour.BLUE, Colour, Literal["red"], "x is sent as one of 'red', 'blue' and read as 'red'"),
    ("green", str, Colour, "x is sent as a string and read as one of 'red', 'blue'"),
    (Line(sku="a"), Line, Line, None),
    (Line(sku="a"), Line, LineWithPrice, "x.price is not sent"),
    (LineWithPrice(sku="a", price=1), LineWithPrice, Line, None),
    (Line(sku="a"), Line, Strict, "x.count is sent and not allowed"),
    ((Line(sku="a"),), tuple[Line, ...], list[LineWithPrice], "x[…].price is not sent"),
    (Line(sku="a"), Line | None, LineWithPrice | None, "x.price is not sent"),
    ({"k": 1}, dict[str, int], dict[str, str], "x[…] is sent as an integer and read as a string"),
    ((1, "a"), tuple[int, str], tuple[int, int], "x[1] is sent as a string and read as an integer"),
    ([1], list[int], int, "x is sent as a list and read as an integer"),
    (Tree(name="a"), Tree, Tree, None),
    (Tree(name="a"), Tree, Hedge, "x.name is sent as a string and read as an integer"),
    (1, Any, str, None),
]


@pytest.mark.parametrize(("value", "sent", "read", "words"), CASES, ids=str)
def test_types_tell_what_can_be_read(value: Any, sent: Any, read: Any, words: str | None) -> None:
    writer: type[BaseModel] = create_model("Writer", x=(sent, ...))
    reader: type[BaseModel] = create_model("Reader", x=(read, ...))
    found = misfits(writer, reader)
    assert found[:1] == ([] if words is None else [words])
    data = writer.__pydantic_serializer__.to_json(writer(x=value))
    if found:
        with pytest.raises(ValidationError):
            reader.model_validate_json(data)
    elif sent is not Any:  # where types tell nothing, nothing is said
        reader.model_validate_json(data)


def test_models_that_fit_in_one_place_and_not_in_another_are_told_apart() -> None:
    either: type[BaseModel] = create_model("E", x=(LineWithPrice | Line, ...), y=(Strict, ...))
    writer: type[BaseModel] = create_model("W", x=(Line, ...), y=(Line, ...))
    assert misfits(writer, either) == ["y.count is sent and not allowed"]


def test_a_type_of_its_own_making_tells_nothing() -> None:
    class Odd:
        pass

    class Carrier(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        odd: Odd

    assert misfits(Carrier, Line) == []


class Renamed(Event):
    event_type: ClassVar[str] = "FlightBooked"
    gate: str = Field(alias="theGate")


class RenamedBothWays(Event):
    model_config = ConfigDict(serialize_by_alias=True)
    gate: str = Field(alias="theGate")


class ReadByName(Event):
    model_config = ConfigDict(populate_by_name=True)
    gate: str = Field(alias="theGate")


class LeftOut(Event):
    gate: str = Field(exclude=True)


@pytest.mark.parametrize(
    ("cls", "found"),
    [
        (Renamed, ["theGate is not sent"]),
        (RenamedBothWays, []),
        (ReadByName, []),
        (LeftOut, ["gate is not sent"]),
    ],
)
def test_an_event_that_cannot_read_itself_is_found(cls: type[Event], found: list[str]) -> None:
    assert misfits(cls, cls) == found
    event = cls.model_construct(gate="A1")
    data = event.__pydantic_serializer__.to_json(event)
    if found:
        with pytest.raises(ValidationError):
            cls.model_validate_json(data)
    else:
        assert cls.model_validate_json(data) == event


def test_it_is_told_once_and_at_the_class() -> None:
    people = desk()
    follow(people, "look_up", Renamed)
    told = journey(people, hotel(), airline(emits=[Renamed]), completed_by=[Renamed])
    (finding,) = check(told.choreography).findings
    assert (finding.code, finding.subject) == ("SAGA502", "FlightBooked")
    assert "cannot read its own messages: theGate is not sent." in finding.message


def test_every_misfit_of_a_class_is_in_one_finding() -> None:
    class Wider(Event):
        event_type: ClassVar[str] = "FlightBooked"
        gate: str
        seats: list[Line]

    people = desk()
    follow(people, "look_up", Wider)
    told = journey(people, hotel(), airline(), completed_by=[FlightBooked])
    assert isinstance(told.choreography, Choreography)
    (finding,) = check(told.choreography).findings
    assert "gate is not sent and seats is not sent" in finding.message
