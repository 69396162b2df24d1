"""Events as AMQP 0-9-1 messages, so that a client in any language can join.

One event travels in the binary mode of CloudEvents 1.0: its data are the body, its attributes are
headers that begin with ``cloudEvents:``. Several of one routing key travel as a JSON batch, which
CloudEvents defines but its AMQP binding does not: that is our extension. Structured mode is
understood too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from aio_pika import DeliveryMode
from aio_pika import Message as Envelope

from sagas.brokers.rabbitmq_frames import UNREADABLE
from sagas.envelope import Message, attributes_of, decode, encode
from sagas.errors import Permanent, Undecodable

__all__ = ["GIVEN_UP", "MAX_BODY_BYTES", "PREFIXES", "envelope_of", "events_in"]

PREFIX = "cloudEvents:"
#: Some clients cannot send a colon; the binding allows either.
PREFIXES = (PREFIX, "cloudEvents_")
JSON = "application/json"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
#: A header of ours: why the broker gave this message up. It is to be kept, not tried again.
GIVEN_UP = "sagas-given-up"
#: A message that is longer is not read: it would have to be stored, and sent on, several times.
MAX_BODY_BYTES = 1 << 20

Found = Message | Permanent


def envelope_of(messages: Sequence[Message]) -> Envelope:
    """What carries these events, all of one routing key."""
    if len(messages) == 1:
        attributes = attributes_of(messages[0])
        return Envelope(
            messages[0].data,
            content_type=JSON,
            headers={PREFIX + name: value for name, value in attributes.items()},
            delivery_mode=DeliveryMode.PERSISTENT,
        )
    body = b"[%b]" % b",".join(map(encode, messages))
    return Envelope(body, content_type=BATCH, delivery_mode=DeliveryMode.PERSISTENT)


def events_in(content_type: str | None, headers: Mapping[str, Any], body: bytes) -> list[Found]:
    """The events that a message carries; in the place of one that is none, what is wrong with it.

    Never empty: a batch without events is a fault as well.
    """
    if UNREADABLE in headers:
        return [Undecodable(str(headers[UNREADABLE]))]
    if len(body) > MAX_BODY_BYTES:
        return [Undecodable(f"{len(body)} bytes are too many: at most {MAX_BODY_BYTES} are read")]
    kind = (content_type or "").partition(";")[0].strip().lower()
    try:
        if kind == BATCH:
            return list(_elements(orjson.loads(body)))
        if kind == STRUCTURED:
            return [decode(body)]
        if kind == JSON:
            orjson.loads(body)  # it is stored inside other JSON
            return [decode(_attributes(headers), body)]
    except orjson.JSONDecodeError as error:
        return [Undecodable(f"the body is not JSON ({error}); fix its producer")]
    except Permanent as fault:
        return [fault]
    kinds = f"{JSON} with {PREFIX} headers, {STRUCTURED}, {BATCH}"
    return [Undecodable(f"content type {content_type!r} is not understood; send {kinds}")]


def _elements(batch: object) -> Iterator[Found]:
    if not isinstance(batch, list) or not batch:
        yield Undecodable("a batch is a JSON array of events, at least one; fix its producer")
        return
    for element in batch:
        try:
            yield decode(element)
        except Permanent as fault:
            yield fault


def _attributes(headers: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name[len(prefix) :]: value
        for name, value in headers.items()
        for prefix in PREFIXES
        if name.startswith(prefix)
    }
