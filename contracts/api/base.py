"""What requests, query strings, resources and lists are built on."""

from __future__ import annotations

import re
from typing import Annotated, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from contracts.values import Value

__all__ = [
    "ListQuery",
    "Page",
    "Query",
    "QueryAmount",
    "QueryText",
    "Request",
    "Resource",
    "Timestamp",
]

_INTEGER = re.compile(r"-?[0-9]{1,18}")

Item = TypeVar("Item")


class Request(Value):
    """A body that a client sends: strict, unknown fields refused."""


class Resource(BaseModel):
    """What a client reads. Built by us from what is stored, so it is checked but not coerced."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


def _integer(value: object) -> object:
    """Query values are text; only plain decimal digits are an integer (18 fit in 64 bits)."""
    if not isinstance(value, str):
        return value
    if not _INTEGER.fullmatch(value):
        raise ValueError("must be an integer")
    return int(value)


_PLAIN = "^[^\x00-\x1f\x7f-\x9f]*$"

QueryAmount = Annotated[int, Field(ge=0, le=10**18 - 1), BeforeValidator(_integer)]
QueryText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=_PLAIN)]
_Limit = Annotated[int, Field(ge=1, le=100), BeforeValidator(_integer)]

#: In answers: RFC 3339 in UTC, made once when the moment was stored.
Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class Query(Value):
    """A query string: every value is text at first, unknown parameters are refused."""


class ListQuery(Query):
    """A page of a list."""

    limit: _Limit = 20
    cursor: Annotated[str, StringConstraints(min_length=1, max_length=1_000)] | None = None


class Page(Resource, Generic[Item]):
    """One page; ``next_cursor`` is null on the last."""

    items: list[Item]
    next_cursor: str | None
