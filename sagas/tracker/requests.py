"""What clients may send to the tracker: strict, and nothing unknown."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic import StringConstraints as Constraints

__all__ = [
    "BulkReplay",
    "CancelBody",
    "DeadLettersQuery",
    "DiscardQuery",
    "EventsQuery",
    "ReplayBody",
    "SagasQuery",
]

_INTEGER = re.compile(r"[0-9]{1,9}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)")
# C0 with newline and NUL, DEL, C1, and lone surrogates, which no UTF-8 can carry.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must not contain control characters")
    if text.isspace():
        raise ValueError("must not be blank")
    return text


def _integer(value: object) -> object:
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    raise ValueError("must be an integer")


def _flag(value: object) -> object:
    if value not in ("true", "false"):
        raise ValueError("must be true or false")
    return value == "true"


def _seconds(value: object) -> object:
    try:
        if isinstance(value, str) and _MOMENT.fullmatch(value):
            return datetime.fromisoformat(value.upper()).timestamp()
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an RFC 3339 time such as 2030-01-31T12:00:00Z")


# The same rule for readers of the schema.
_LINE = Field(
    json_schema_extra={
        "pattern": r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    }
)
Reason = Annotated[str, Constraints(min_length=1, max_length=500), AfterValidator(_one_line), _LINE]
Word = Annotated[str, Constraints(min_length=1, max_length=200), AfterValidator(_one_line), _LINE]
Limit = Annotated[int, Field(ge=1, le=100), BeforeValidator(_integer)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Moment = Annotated[
    float,
    BeforeValidator(_seconds),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class _Page(_Strict):
    limit: Limit = 20
    cursor: Annotated[str, Constraints(min_length=1, max_length=1_000)] | None = None


class SagasQuery(_Page):
    """``since``: started at that moment or later."""

    status: Literal["running", "compensating", "completed", "compensated", "attention"] | None = (
        None
    )
    stuck: Flag | None = None
    type: Word | None = None
    since: Moment | None = None


class EventsQuery(_Page):
    """Of one saga, from its beginning."""


class DeadLettersQuery(_Page):
    """Open ones, unless another ``status`` is asked for."""

    participant: Word | None = None
    cause: Word | None = None
    status: Literal["open", "replayed", "discarded"] = "open"


class DiscardQuery(_Strict):
    reason: Reason


class CancelBody(_Strict):
    reason: Reason


class ReplayBody(_Strict):
    """May be left out, with the whole body."""

    reason: Reason | None = None


class BulkReplay(_Strict):
    """Every open one that matches; all of them without a filter."""

    participant: Word | None = None
    cause: Word | None = None
    reason: Reason
