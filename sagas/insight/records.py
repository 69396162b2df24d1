"""Events as Kafka records: the binary mode of the CloudEvents 1.0 Kafka binding.

The data, redacted, are the value; the attributes are headers that begin with ``ce_``; the key is
the saga's id. What the business tells of the raw event travels in an extension, ``facts``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import orjson

from sagas.envelope import Message, attributes_of, decode, event_version
from sagas.errors import Permanent
from sagas.events import ENGINE_EVENTS
from sagas.flow import Choreography
from sagas.insight.business import checked_facts
from sagas.tracker import Plan

__all__ = [
    "FUTURE_S",
    "MOST_BYTES",
    "Record",
    "Skipped",
    "Versions",
    "read_record",
    "record_of",
    "versions_of",
]

PREFIX: Final = "ce_"
FACTS: Final = "facts"
JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
#: How far ahead of ours the clock of whoever sends may be.
FUTURE_S: Final = 300.0
#: What a record's value may have: a saga's state holds all of its events, and must fit into one.
MOST_BYTES: Final = 256 * 1024

#: A header need not have a value: such a one is as good as none.
Headers = Sequence[tuple[str, bytes | None]]
#: The versions of each event that can be read here.
Versions = Mapping[str, frozenset[int]]


class Record(NamedTuple):
    """What Kafka is given. ``timestamp_ms`` is the event's own time."""

    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    timestamp_ms: int


class Skipped(Exception):
    """A record that is not folded, and why: ``reason`` is one of a few words, for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def versions_of(choreography: Choreography) -> Versions:
    """What the declarations can read: each event's own version, and those that it casts up."""
    classes = (*choreography.event_classes().items(), *((c.__name__, c) for c in ENGINE_EVENTS))
    return {
        name: frozenset({event_version(cls), *getattr(cls, "upcasters", {})})
        for name, cls in classes
    }


def record_of(message: Message, plan: Plan) -> Record:
    """The record of an event, redacted. Events of no saga keep to their subject's partition."""
    attributes = attributes_of(message)
    if facts := plan.read_facts(message):
        attributes[FACTS] = facts
    headers = [(PREFIX + name, str(value).encode()) for name, value in attributes.items()]
    return Record(
        (message.saga_id or message.subject or message.source).encode(),
        plan.redaction.text(message).encode(),
        [("content-type", JSON.encode()), *headers],
        int(message.time * 1000),
    )


def read_record(
    key: bytes | None, value: bytes | None, headers: Headers, versions: Versions, now: float
) -> tuple[Message, str]:
    """The event in a record and its facts. Raises ``Skipped``: whoever wrote it may be anybody."""
    if value is None or len(value) > MOST_BYTES:
        raise Skipped("undecodable", f"it has no value, or more than {MOST_BYTES} bytes")
    named = {name: raw for name, raw in headers if raw is not None}
    attributes = {
        name.removeprefix(PREFIX): text
        for name, raw in named.items()
        if name.startswith(PREFIX) and (text := raw.decode(errors="replace"))
    }
    facts = ""
    try:
        if named.get("content-type", b"").startswith(STRUCTURED.encode()):
            whole = orjson.loads(value)
            facts = _facts(whole.get(FACTS) if isinstance(whole, dict) else None)
            message = decode(whole)
        else:
            orjson.loads(value)
            facts = _facts(attributes.get(FACTS))
            message = decode(attributes, value)
    except orjson.JSONDecodeError as error:
        raise Skipped("undecodable", f"its value is not JSON ({error})") from error
    except Permanent as error:
        raise Skipped("undecodable", str(error)) from error
    if message.saga_id is not None and key != message.saga_id.encode():
        raise Skipped("wrong_key", f"its key is not its saga's id, {message.saga_id!r}")
    known = versions.get(message.type)
    if known is not None and message.version not in known:
        raise Skipped(
            "unknown_version", f"{message.type} version {message.version} is unknown here"
        )
    if message.time > now + FUTURE_S:
        raise Skipped("from_the_future", f"its time is {message.time - now:.0f} s ahead")
    return message, facts


def _facts(text: object) -> str:
    try:
        return checked_facts(orjson.loads(text)) if isinstance(text, str) else ""
    except orjson.JSONDecodeError:
        return ""
