"""Lists in pages: an opaque cursor says where the next one starts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import orjson

from sagas.ports import Record, Scalar
from sagas.web.problems import Problem, parameter_error, validation_failed

__all__ = ["After", "after_record", "decode_cursor", "encode_cursor", "page"]

#: Where the page before ended: the sort value (``None`` when sorted by key) and the key.
After = tuple[Scalar, str]

Item = TypeVar("Item")

MAX_CURSOR = 1_000
_INT64 = 2**63


def encode_cursor(after: After, order: str = "") -> str:
    """``order`` names the list's order: a cursor of another one is refused."""
    return base64.urlsafe_b64encode(orjson.dumps([order, *after])).rstrip(b"=").decode()


def decode_cursor(cursor: str | None, order: str = "") -> After | None:
    """What ``Query.after`` takes. A cursor that we did not make is 422."""
    if cursor is None:
        return None
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError("too long")
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        made_for, value, key = orjson.loads(base64.b64decode(padded, b"-_", validate=True))
    except (ValueError, TypeError, binascii.Error):
        raise _bad_cursor() from None
    # Anybody can encode JSON: let nothing through that a store would stumble over.
    if made_for != order or not isinstance(key, str) or not key or not _is_scalar(value):
        raise _bad_cursor()
    return value, key


def page(
    found: Sequence[Item],
    limit: int,
    after: Callable[[Item], After],
    show: Callable[[Item], Any],
    order: str = "",
) -> dict[str, Any]:
    """A page of at most ``limit`` out of what a query for ``limit + 1`` found.

    The one more tells whether there is a next page. ``after`` gives an item's place in the order,
    ``show`` what clients see of it.
    """
    shown = found[:limit]
    more = len(found) > limit
    return {
        "items": [show(item) for item in shown],
        "next_cursor": encode_cursor(after(shown[-1]), order) if more else None,
    }


def after_record(sort: str | None = None) -> Callable[[Record], After]:
    """The place of a record in a query sorted by ``sort``."""

    def place(record: Record) -> After:
        return (None if sort is None else record.fields[sort], record.key)

    return place


def _is_scalar(value: object) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return -_INT64 <= value < _INT64
    return value is None or isinstance(value, bool | float | str)


def _bad_cursor() -> Problem:
    return validation_failed(parameter_error("cursor", "must be a next_cursor of this list"))
