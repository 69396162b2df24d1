"""Secret and personal fields leave the events here, before anything of them is stored for people.

What is marked as sensitive is replaced, wherever it stands. So is everything that no event class
declares: a type, a version or a field that is unknown here may hold anything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel

from sagas.envelope import Message
from sagas.tracker.masks import NOTHING_KNOWN, Fields, Leaf, Mask, Values, mask_of, trusting

__all__ = ["REDACTED", "Redaction", "scrubbed"]

REDACTED: Final = "[redacted]"
#: Scrubbing shorter text out of a stack would garble it and hide nothing.
MIN_SCRUBBED = 3
#: How pydantic quotes what it was given, in the errors that end up in a stack.
_QUOTED_INPUT = re.compile(r"input_value=.*?(?=, input_type=)", re.DOTALL)


class Redaction:
    """Redacts events of known classes by their declarations, and all others altogether.

    ``hidden`` names further fields to hide, by event type.
    """

    def __init__(
        self,
        classes: Mapping[str, type[BaseModel]],
        hidden: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self._masks: dict[str, Fields] = {}
        #: For events made in this process by their class: no field is there that it lacks.
        self._trusted: dict[type[BaseModel], Mask] = {}
        for name, cls in classes.items():
            mask, closed = mask_of(cls)
            more = dict.fromkeys((hidden or {}).get(name, ()), Leaf.HIDDEN)
            self._masks[name] = mask = Fields({**mask.masks, **more})
            if closed:
                self._trusted[cls] = trusting(mask)

    def text(self, message: Message) -> str:
        """The data of ``message``, redacted, as JSON: always an object."""
        mask = self._trusted.get(type(message.event))  # type: ignore[arg-type]  # of no event: none
        if mask is None:
            return orjson.dumps(self.value(message.type, _parsed(message.data))).decode()
        if mask is Leaf.WHOLE:
            return message.data.decode()
        return orjson.dumps(_filtered(mask, _parsed(message.data), None)).decode()

    def value(
        self, event_type: str, value: object, removed: set[str] | None = None
    ) -> dict[str, Any]:
        """``value``, the data of an event, redacted. What went is added to ``removed``."""
        mask = self._masks.get(event_type, NOTHING_KNOWN)
        shown = _filtered(mask, value, removed)
        return shown if isinstance(shown, dict) else {}


def scrubbed(text: str, removed: Iterable[str]) -> str:
    """``text`` (an error, a stack) without the values that were removed from its message."""
    text = _QUOTED_INPUT.sub(f"input_value={REDACTED}", text)
    for secret in sorted(removed, key=len, reverse=True):
        if len(secret) >= MIN_SCRUBBED:
            # As it is, and as Python (which may escape a quote, too) or JSON would quote it.
            python = repr(secret)[1:-1]
            for spelling in (secret, python, python.replace("'", "\\'"), json.dumps(secret)[1:-1]):
                text = text.replace(spelling, REDACTED)
    return text


def _parsed(raw: bytes) -> object:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def _filtered(mask: Mask, value: object, removed: set[str] | None) -> object:
    if mask is Leaf.HIDDEN:
        if removed is not None:
            _collect(value, removed)
        return REDACTED
    if value is None or mask is Leaf.WHOLE:
        return value
    if isinstance(value, list):
        return [_filtered(mask, item, removed) for item in value]
    if isinstance(value, dict):
        if isinstance(mask, Fields):
            known = mask.masks.get
            return {
                name: _filtered(known(name, Leaf.HIDDEN), item, removed)
                for name, item in value.items()
            }
        if isinstance(mask, Values):
            return {name: _filtered(mask.mask, item, removed) for name, item in value.items()}
    elif mask is Leaf.PLAIN or (isinstance(mask, Fields) and mask.or_plain):
        return value
    # Not what was declared at this place: it may be anything.
    return _filtered(Leaf.HIDDEN, value, removed)


def _collect(value: object, removed: set[str]) -> None:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            _collect(item, removed)
    elif value is not None and not isinstance(value, bool):
        removed.add(str(value))
