"""What a server sends, made readable before the client library reads it.

Anybody may publish to our exchange, and the server looks neither at text nor at timestamps. What
pamqp cannot decode (text that is no UTF-8, a timestamp in microseconds, tables nested without end)
is a broken connection to aiormq: the message comes again on the next one, and breaks that too.
So each frame is looked through here, between the socket and aiormq, by the grammar of AMQP alone:
where properties cannot be read, others that say so take their place, and the body comes as it is.
Nothing of pamqp is replaced, since both are shared by the whole process.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterator
from typing import Final, cast

from aiormq import spec
from pamqp.header import ContentHeader

__all__ = ["UNREADABLE", "made_readable", "readable"]

#: A header of ours: why the properties of this message could not be read.
UNREADABLE = "sagas-unreadable"
#: Of properties that cannot be read, what the server put there is kept.
KEPT: Final = (b"x-delivery-count", b"x-first-death-queue", b"x-first-death-reason")
#: Longer ones are not read: pamqp's time grows with the square of what lies in an array.
MAX_PROPERTIES_BYTES = 1 << 16
MAX_DEPTH = 16
#: The highest timestamp that pamqp can read, which takes such high ones for milliseconds.
LAST_TIMESTAMP = 253_402_300_799_000

_METHOD, _HEADER, _END = 1, 2, b"\xce"
_DELIVER = struct.pack(">HH", spec.Basic.frame_id, 60)
#: Bytes of a value in a table, by its type; the others begin with their length.
_SIZES: Final = {
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    **dict.fromkeys(b"lLdT", 8),
    **dict.fromkeys(b"V\0", 0),
    ord("D"): 5,
}
_LONG: Final = frozenset(b"SxAF")
_HEADERS, _LAST_PROPERTY = 1 << 13, 1 << 2
#: The types of all properties, by their flags.
_PROPERTIES: Final = {
    spec.Basic.Properties.flags[name]: (name, spec.Basic.Properties.amqp_type(name))
    for name in spec.Basic.Properties.attributes()
}


def made_readable(reader: asyncio.StreamReader) -> asyncio.StreamReader:
    """The same stream, for aiormq: of the reader it asks no more than ``_Frames`` has."""
    return cast(asyncio.StreamReader, _Frames(reader))


class _Frames:
    """Reads frame by frame, and hands out as many bytes as are asked for."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader
        self._ahead = b""

    def at_eof(self) -> bool:
        return not self._ahead and self._reader.at_eof()

    async def read(self, n: int = -1) -> bytes:
        ahead, self._ahead = self._ahead, b""
        return ahead or await self._reader.read(n)

    async def readexactly(self, n: int) -> bytes:
        if not self._ahead:
            self._ahead = await self._next()
        if len(self._ahead) < n:
            self._ahead += await self._reader.readexactly(n - len(self._ahead))
        taken, self._ahead = self._ahead[:n], self._ahead[n:]
        return taken

    async def _next(self) -> bytes:
        head = await self._reader.readexactly(7)
        if head.startswith(b"AMQP"):
            return head  # no frame: the server speaks another version, and says which
        kind, channel, size = struct.unpack(">BHI", head)
        rest = await self._reader.readexactly(size + 1)
        if kind not in (_METHOD, _HEADER) or not rest.endswith(_END):
            return head + rest
        payload = readable(kind, rest[:-1])
        return struct.pack(">BHI", kind, channel, len(payload)) + payload + _END


def readable(kind: int, payload: bytes) -> bytes:
    """A frame's payload, or in its place one that pamqp can decode."""
    if kind == _METHOD and payload.startswith(_DELIVER):
        return _readable_delivery(payload)
    if kind != _HEADER or len(payload) < 14:
        return payload
    kept: dict[str, int | str] = {}
    try:
        _check_properties(payload, kept)
    except ValueError as fault:
        (size,) = struct.unpack_from(">Q", payload, 4)
        said = f"the properties cannot be read ({fault}); fix its producer"
        properties = spec.Basic.Properties(headers={**kept, UNREADABLE: said})
        return ContentHeader(body_size=size, properties=properties).marshal()
    return payload


def _readable_delivery(payload: bytes) -> bytes:
    """Nobody needs the exchange or the routing key: what is no text in them becomes ``?``."""
    at = 4 + 1 + payload[4] + 8 + 1
    if payload[at:].isascii():
        return payload
    found = [payload[:at]]
    while at < len(payload):
        name = payload[at + 1 : (end := at + 1 + payload[at])]
        try:
            name.decode()
        except UnicodeDecodeError:
            name = name.decode("ascii", "replace").encode("ascii", "replace")
        found += (payload[at : at + 1], name)
        at = end
    return b"".join(found)


def _check_properties(payload: bytes, kept: dict[str, int | str]) -> None:
    """Raise ``ValueError`` for what pamqp cannot read; ``kept`` gets what there is of ``KEPT``."""
    (flags,) = struct.unpack_from(">H", payload, 12)
    faults: list[str] = []
    if flags % _LAST_PROPERTY:
        raise ValueError("there are properties that AMQP 0-9-1 does not know")
    if len(payload) > MAX_PROPERTIES_BYTES:
        faults.append(f"{len(payload)} bytes are too many: at most {MAX_PROPERTIES_BYTES} are read")
    at = 14
    for flag, (name, type) in _PROPERTIES.items():
        if not flags & flag:
            continue
        start, at = at, _end(payload, at, type)
        if type == "shortstr":
            faults += _no_text(name, payload[start + 1 : at])
        elif type == "timestamp":
            faults += _late("the timestamp", payload, start)
        elif flag == _HEADERS:
            faults += _headers(payload, start + 4, at, kept, look=not faults)
    if faults:
        raise ValueError("; ".join(faults[:3]))


def _end(payload: bytes, at: int, type: str) -> int:
    """Where a property ends that begins here."""
    if type == "shortstr":
        end = at + 1 + payload[at] if at < len(payload) else at + 1
    elif type == "table":
        end = at + 4 + int.from_bytes(payload[at : at + 4])
    else:
        end = at + {"octet": 1, "timestamp": 8}[type]
    if end > len(payload):
        raise ValueError("they end too early")
    return end


def _headers(
    payload: bytes, at: int, end: int, kept: dict[str, int | str], *, look: bool
) -> Iterator[str]:
    """What is wrong with the headers; unless this is known already, only what is to be kept."""
    for key, kind, start, stop in _fields(payload, at, end, named=True):
        if key in KEPT and stop - start < 256:
            value = payload[start:stop]
            if kind in b"S":
                kept[key.decode()] = value[4:].decode("utf-8", "replace")
            elif kind in b"bBsuIilL":
                kept[key.decode()] = int.from_bytes(value, signed=True)
        if look and not key.isascii():
            yield from _no_text("the name of a header", key)
        if look and kind in b"TAF":
            yield from _values(payload, repr(key)[1:], kind, start, stop, 1)


def _values(
    payload: bytes, name: str, kind: int, start: int, stop: int, depth: int
) -> Iterator[str]:
    """What is wrong with the value of a field, and with those in it."""
    if kind in b"T":
        yield from _late(f"header {name}: timestamp", payload, start)
    elif kind in b"AF":
        if depth > MAX_DEPTH:
            yield f"header {name}: tables in tables, more than {MAX_DEPTH} deep"
            return
        for key, inner, at, end in _fields(payload, start + 4, stop, named=kind in b"F"):
            yield from _no_text("the name of a header", key)
            yield from _values(payload, name, inner, at, end, depth + 1)


def _fields(
    payload: bytes, at: int, end: int, *, named: bool
) -> Iterator[tuple[bytes, int, int, int]]:
    """The fields of a table, or of an array, which have no names: name, type, start and end."""
    while at < end:
        key = payload[at + 1 : at + 1 + payload[at]] if named else b""
        at += 1 + len(key) if named else 0
        kind = payload[at] if at < end else -1
        start = at + 1
        if kind in _LONG:
            at = start + 4 + int.from_bytes(payload[start : start + 4])
        elif kind in _SIZES:
            at = start + _SIZES[kind]
        else:
            raise ValueError(f"header {key!r} is of a type that AMQP 0-9-1 does not know")
        if at > end:
            raise ValueError(f"header {key!r} ends too late")
        yield key, kind, start, at


def _no_text(what: str, raw: bytes) -> Iterator[str]:
    try:
        raw.decode()
    except UnicodeDecodeError:
        yield f"{what} is not UTF-8: {raw[:40]!r}"


def _late(what: str, payload: bytes, at: int) -> Iterator[str]:
    (value,) = struct.unpack_from(">Q", payload, at)
    if value > LAST_TIMESTAMP:
        yield f"{what} {value} is too late: AMQP counts seconds"
