"""AMQP properties, byte by byte, as clients write them that check nothing."""

from __future__ import annotations

import struct
from typing import Any

from aiormq import spec

__all__ = [
    "Bytes",
    "Properties",
    "content_type",
    "field",
    "headers",
    "long",
    "nested",
    "timestamp",
    "with_header",
]


class Properties(spec.Basic.Properties):
    """What is written, as it is."""

    def __init__(self, written: bytes) -> None:
        super().__init__()
        self.written = written

    def marshal(self) -> bytes:
        return self.written


class Bytes(str):
    """Text to those who check it; on the wire, these bytes."""

    def __new__(cls, raw: bytes) -> Bytes:
        made = super().__new__(cls, raw.decode("ascii", "ignore"))
        made.raw = raw
        return made

    raw: bytes

    def encode(self, *_: Any, **__: Any) -> bytes:
        return self.raw


def content_type(raw: bytes) -> bytes:
    return struct.pack(">HB", 1 << 15, len(raw)) + raw


def timestamp(value: int) -> bytes:
    """Of a JSON event, so that nothing else is wrong with it."""
    kind = b"application/json"
    return struct.pack(">HB", 1 << 15 | 1 << 6, len(kind)) + kind + struct.pack(">Q", value)


def headers(*fields: bytes) -> bytes:
    return struct.pack(">H", 1 << 13) + long(b"".join(fields))


def field(key: bytes, kind: bytes, value: bytes) -> bytes:
    return bytes([len(key)]) + key + kind + value


def long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def with_header(properties: bytes, more: bytes) -> bytes:
    """One more header, before those that there are; of the others only a timestamp may be there."""
    (flags,) = struct.unpack_from(">H", properties)
    if flags & 1 << 13:
        return headers(more, properties[6:])
    return struct.pack(">H", 1 << 13 | 1 << 6) + long(more) + properties[-8:]


def nested(key: bytes, depth: int) -> bytes:
    """A table in a table in a table …"""
    found = long(b"")
    for _ in range(depth - 1):
        found = long(field(b"", b"F", found))
    return field(key, b"F", found)
