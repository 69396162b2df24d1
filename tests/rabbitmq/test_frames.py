"""What stands between the socket and aiormq: whatever a server hands on, pamqp can decode it.

These guard what ``rabbitmq_frames`` knows of both: if pamqp learns to read more, or less, or aiormq
asks more of its reader, they fail.
"""

from __future__ import annotations

import asyncio
import struct

import pytest
from aiormq import spec
from aiormq.connection import FrameReceiver
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import decode, frame
from pamqp.header import ContentHeader

from sagas.brokers import rabbitmq_frames as frames
from sagas.brokers.rabbitmq_frames import UNREADABLE, made_readable, readable
from tests.rabbitmq import foreign

HEADER, METHOD = 2, 1


def content_header(properties: bytes, size: int = 7) -> bytes:
    return struct.pack(">HHQ", 60, 0, size) + properties


def decoded(payload: bytes) -> ContentHeader:
    """As aiormq gets it; it raises what aiormq would take for a broken connection."""
    found = ContentHeader()
    found.unmarshal(payload)
    return found


key = st.binary(max_size=12) | st.sampled_from(frames.KEPT)
plain = st.builds(
    lambda kind, value: (kind, (value * 8)[: frames._SIZES[kind]]),
    st.sampled_from(sorted(frames._SIZES)),
    st.binary(min_size=1, max_size=8),
)
text = st.builds(
    lambda kind, value: (ord(kind), foreign.long(value)), st.sampled_from("Sx"), st.binary()
)
value = st.recursive(
    plain | text,
    lambda inner: (
        st.builds(
            lambda fields: (
                ord("F"),
                foreign.long(b"".join(foreign.field(k, bytes([t]), v) for k, (t, v) in fields)),
            ),
            st.lists(st.tuples(key, inner), max_size=3),
        )
        | st.builds(
            lambda items: (ord("A"), foreign.long(b"".join(bytes([t]) + v for t, v in items))),
            st.lists(inner, max_size=3),
        )
    ),
    max_leaves=12,
)
headers = st.lists(st.tuples(key, value), max_size=4).map(
    lambda fields: foreign.headers(*(foreign.field(k, bytes([t]), v) for k, (t, v) in fields))
)
properties = st.one_of(
    headers,
    st.binary(max_size=20).map(foreign.content_type),
    st.integers(0, 2**64 - 1).map(foreign.timestamp),
)


@settings(max_examples=400)
@given(properties)
def test_whatever_properties_are_written_they_can_be_decoded(written: bytes) -> None:
    payload = content_header(written)
    made = readable(HEADER, payload)
    found = decoded(made)
    assert found.body_size == 7
    if made == payload:
        return
    assert UNREADABLE in (found.properties.headers or {})
    with pytest.raises(Exception):  # noqa: B017, PT011 - pamqp says it in many ways
        decoded(payload)


@settings(max_examples=400)
@given(properties, st.data())
def test_whatever_is_cut_or_changed_on_the_way_can_be_decoded(
    written: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(written[: data.draw(st.integers(2, len(written)))])
    for _ in range(data.draw(st.integers(0, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    decoded(readable(HEADER, content_header(bytes(damaged))))


@pytest.mark.parametrize("depth", [1, frames.MAX_DEPTH, frames.MAX_DEPTH + 1, 10_000])
def test_nested_tables_are_read_to_a_depth(depth: int) -> None:
    payload = content_header(foreign.headers(foreign.nested(b"deep", depth)))
    is_read = readable(HEADER, payload) == payload
    assert is_read == (depth <= frames.MAX_DEPTH)
    decoded(readable(HEADER, payload))


def test_what_the_server_added_is_kept_and_nothing_else() -> None:
    """The net needs it: where the message fell from."""
    payload = content_header(
        foreign.headers(
            foreign.field(b"\xff", b"V", b""),
            foreign.field(b"x-first-death-queue", b"S", foreign.long(b"shop.hotel")),
            foreign.field(b"x-delivery-count", b"l", struct.pack(">q", 3)),
            foreign.field(b"other", b"S", foreign.long(b"text")),
        )
    )
    found = decoded(readable(HEADER, payload)).properties.headers or {}
    assert found.pop(UNREADABLE).startswith("the properties cannot be read (the name of a header")
    assert found == {"x-first-death-queue": "shop.hotel", "x-delivery-count": 3}


def test_pamqp_knows_the_types_that_are_known_here() -> None:
    assert {kind[0] for kind in decode.TABLE_MAPPING} == {*frames._SIZES, *frames._LONG}
    kinds = {type for _, type in frames._PROPERTIES.values()}
    assert kinds == {"shortstr", "octet", "table", "timestamp"}
    assert list(frames._PROPERTIES) == [1 << bit for bit in range(15, 1, -1)]
    decode.timestamp(struct.pack(">Q", frames.LAST_TIMESTAMP))
    with pytest.raises(ValueError):  # noqa: PT011 - of datetime's own
        decode.timestamp(struct.pack(">Q", frames.LAST_TIMESTAMP + 1_000))


@given(st.binary(max_size=255), st.binary(max_size=255), st.integers(0, 2**63 - 1))
def test_whatever_the_routing_key_is_a_delivery_can_be_decoded(
    exchange: bytes, key: bytes, tag: int
) -> None:
    sent = struct.pack(">HHB3sQB", 60, 60, 3, b"ctg", tag, 1)
    sent += bytes([len(exchange)]) + exchange + bytes([len(key)]) + key
    found = spec.Basic.Deliver()
    found.unmarshal(readable(METHOD, sent)[4:])
    assert (found.consumer_tag, found.delivery_tag, found.redelivered) == ("ctg", tag, True)


async def test_aiormq_reads_frames_through_it() -> None:
    """All frames in pieces, the last one cut: as from the socket itself."""
    whole = [
        frame.marshal(spec.Basic.Deliver("ctag", 1, False, "e", "k"), 1),
        frame.marshal(ContentHeader(body_size=3), 1),
        struct.pack(">BHI", 3, 1, 3) + b"abc\xce",
        b"\x08\0\0\0\0\0\0\xce",
    ]
    socket = asyncio.StreamReader()
    receiver = FrameReceiver(made_readable(socket))
    socket.feed_data(b"".join(whole) + whole[0][:-3])
    socket.feed_eof()
    got = [await receiver.get_frame() for _ in whole]
    assert [type(each).__name__ for _, _, each in got] == [
        "Deliver",
        "ContentHeader",
        "ContentBody",
        "Heartbeat",
    ]
    with pytest.raises(ConnectionError, match="unexpectedly closed"):
        await receiver.get_frame()


async def test_a_server_of_another_version_is_understood() -> None:
    socket = asyncio.StreamReader()
    socket.feed_data(b"AMQP\x00\x00\x09\x01")
    with pytest.raises(Exception, match="Unexpected AMQP protocol header"):
        await FrameReceiver(made_readable(socket)).get_frame()
