"""Whatever comes in over the wire: it ends where an operator sees it, and stops no other saga."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq import spec
from yarl import URL

from sagas.envelope import rfc3339
from tests.rabbitmq import foreign
from tests.rabbitmq.server import connected
from tests.rabbitmq.world import Trips, open_trips, until


@pytest.fixture
async def trips(url: URL) -> AsyncIterator[Trips]:
    async with open_trips(url) as opened:
        yield opened


def attributes(**changes: Any) -> dict[str, Any]:
    told = {
        "specversion": "1.0",
        "id": "x1",
        "source": "/elsewhere",
        "type": "TripStarted",
        "subject": "s1",
        "time": rfc3339(1_700_000_000),
        "dataversion": 1,
        "correlationid": "s1",
    }
    return {name: value for name, value in {**told, **changes}.items() if value is not None}


def headers(**changes: Any) -> dict[str, Any]:
    return {f"cloudEvents:{name}": value for name, value in attributes(**changes).items()}


async def send(
    trips: Trips,
    body: bytes,
    key: str = "TripStarted",
    content_type: str | None = "application/json",
    **changes: Any,
) -> None:
    """As anybody could."""
    message = Message(
        body,
        content_type=content_type,
        headers=headers(**changes),
        delivery_mode=DeliveryMode.PERSISTENT,
    )
    async with connected() as channel:
        exchange = await channel.get_exchange(f"{trips.name}.events")
        await exchange.publish(message, key)


async def goes_on(trips: Trips) -> None:
    """A saga that begins now is not held up by what came before."""
    await trips.start("another")
    await trips.reached("another", "done")


GOOD = orjson.dumps({"flight": "ok", "room": "ok"})
DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    ("body", "changes", "said"),
    [
        (b"\xff\xfe no JSON", {}, "the body is not JSON"),
        (b"", {}, "the body is not JSON"),
        (DEEP, {}, "the body is not JSON"),
        (GOOD, {"content_type": "text/plain"}, "content type 'text/plain' is not understood"),
        (GOOD, {"content_type": None}, "content type None is not understood"),
        (GOOD, {"content_type": "application/cloudevents+json"}, "specversion"),
        (GOOD, {"content_type": "application/cloudevents-batch+json"}, "a JSON array of events"),
        (b"[]", {"content_type": "application/cloudevents-batch+json"}, "at least one"),
        (GOOD, {"specversion": "0.3"}, "specversion '0.3' is not 1.0"),
        (GOOD, {"id": None}, "id"),
        (GOOD, {"id": "a\x00b"}, "none for control"),
        (GOOD, {"correlationid": 7}, "correlationid must be a non-empty string"),
        (GOOD, {"sequence": -1}, "sequence must be a whole number"),
        (GOOD, {"dataversion": "9" * 40}, "dataversion must be a whole number"),
        (GOOD, {"time": "yesterday"}, "yesterday"),
        (GOOD, {"time": "0001-01-01T00:00:00Z"}, "time must lie between"),
        (b"[" + b"1," * (5 << 20) + b"1]", {}, "bytes are too many"),
    ],
    ids=lambda value: None if isinstance(value, bytes | dict) else str(value)[:30],
)
async def test_what_cannot_be_read_becomes_a_dead_letter_of_its_own(
    trips: Trips, body: bytes, changes: dict[str, Any], said: str
) -> None:
    await send(trips, body, **changes)
    letters = await trips.dead_letters(2)  # of those who hear this: the hotel and the tracker
    assert {letter["participant"] for letter in letters} == {"hotel", "tracker"}
    for letter in letters:
        assert said in letter["detail"]
        assert letter["saga_id"] is None
    await goes_on(trips)


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (foreign.timestamp(1_700_000_000_000_000), "timestamp 1700000000000000 is too late"),
        (foreign.timestamp(2**64 - 1), "timestamp 18446744073709551615 is too late"),
        (foreign.headers(foreign.field(b"at", b"T", struct.pack(">Q", 2**63))), "'at': timestamp"),
        (foreign.headers(foreign.field(b"\xff\xfe", b"t", b"\x01")), "is not UTF-8"),
        (foreign.content_type(b"text/\xff"), "content_type is not UTF-8"),
        (foreign.headers(foreign.nested(b"deep", 2_000)), "tables in tables"),
        (foreign.headers(foreign.field(b"a", b"A", foreign.long(b"V" * 100_000))), "too many"),
    ],
    ids=["microseconds", "2^64", "2^63 in a table", "key", "content type", "deep", "long"],
)
async def test_properties_that_cannot_be_decoded_become_a_dead_letter_of_their_own(
    trips: Trips, caplog: pytest.LogCaptureFixture, properties: bytes, said: str
) -> None:
    """Their connection is not lost, and so nobody else's message is delivered again."""
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.basic_publish(
            GOOD,
            exchange=f"{trips.name}.events",
            routing_key="TripStarted",
            properties=foreign.Properties(properties),
        )
    letters = await trips.dead_letters(2)
    assert {letter["participant"] for letter in letters} == {"hotel", "tracker"}
    for letter in letters:
        assert said in letter["detail"]
    await goes_on(trips)
    assert "connection was lost" not in caplog.text


async def test_a_routing_key_that_is_no_text_is_no_fault(
    trips: Trips, caplog: pytest.LogCaptureFixture
) -> None:
    """Of those who hear everything: it reaches them, and what it carries can be read."""
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.basic_publish(
            GOOD,
            exchange=f"{trips.name}.events",
            routing_key=foreign.Bytes(b"TripStarted.\xff"),
            properties=spec.Basic.Properties(
                content_type="application/json", headers=headers(specversion="0.3")
            ),
        )
    (letter,) = await trips.dead_letters(participant="tracker")
    assert "specversion '0.3' is not 1.0" in letter["detail"]
    await goes_on(trips)
    assert "connection was lost" not in caplog.text


@pytest.mark.parametrize(
    ("changes", "cause", "said"),
    [
        ({"type": "TripEnded"}, "UnknownEvent", "does not know events of this type"),
        ({"dataversion": 7}, "UnknownVersion", "version 7 is unknown here (known: 1)"),
        ({"correlationid": None}, "Permanent", "carries no saga id (correlationid)"),
    ],
)
async def test_what_its_participant_does_not_know_becomes_a_dead_letter(
    trips: Trips, changes: dict[str, Any], cause: str, said: str
) -> None:
    await send(trips, GOOD, **changes)
    (letter,) = await trips.dead_letters(participant="hotel")
    assert letter["cause"] == cause
    assert said in letter["detail"]
    assert letter["saga_id"] == changes.get("correlationid", "s1")
    await goes_on(trips)


@pytest.mark.parametrize("body", [b'{"flight":[]}', b"3", b"null", b'["flight"]', b'"ok"'])
async def test_data_that_do_not_fit_become_a_dead_letter_of_their_saga(
    trips: Trips, body: bytes
) -> None:
    await send(trips, body)
    (letter,) = await trips.dead_letters(participant="hotel")
    assert (letter["saga_id"], letter["type"]) == ("s1", "TripStarted")
    assert "TripStarted does not fit its contract" in letter["detail"]
    assert letter["cause"] == "ContractBroken"
    await goes_on(trips)


async def test_in_a_batch_each_event_succeeds_or_fails_by_itself(trips: Trips) -> None:
    """The JSON batch format, whose elements succeed or fail singly."""
    batch = [
        {**attributes(id="x1", correlationid="s1"), "data": orjson.loads(GOOD)},
        {**attributes(id="x2", correlationid="s2"), "data": {"flight": []}},
        "no event at all",
        {**attributes(id="x3", correlationid="s3"), "data": orjson.loads(GOOD)},
    ]
    kind = "application/cloudevents-batch+json; charset=utf-8"
    await send(trips, orjson.dumps(batch), content_type=kind)
    letters = await trips.dead_letters(2, participant="hotel")
    assert {letter["saga_id"] for letter in letters} == {None, "s2"}
    for saga in ("s1", "s3"):
        await until(lambda s=saga: trips.harness.state("airline", s), lambda s: s is not None)
    await goes_on(trips)


async def test_an_event_that_follows_on_nothing_is_waited_with_then_kept(trips: Trips) -> None:
    """A follow-up event for a trip that does not exist: it may come early, so it is tried."""
    await send(trips, b"{}", "FlightBooked", type="FlightBooked", correlationid="nobody")
    (letter,) = await trips.dead_letters(participant="trip")
    assert "there is no trip/nobody for FlightBooked" in letter["detail"]
    assert letter["saga_id"] == "nobody"
    await goes_on(trips)


async def test_a_queue_deleted_under_its_consumer_is_declared_anew(
    trips: Trips, caplog: pytest.LogCaptureFixture
) -> None:
    await trips.start("before")
    await trips.reached("before", "done")
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.queue_delete(f"{trips.name}.hotel")
    await until(lambda: _consumers(trips, "hotel"), bool)
    assert f"queue {trips.name}.hotel was deleted under its consumer" in caplog.text
    await goes_on(trips)


async def _consumers(trips: Trips, name: str) -> int | None:
    """How many consume this queue; ``None`` while there is no such queue."""
    async with connected() as channel:
        try:
            queue = await channel.declare_queue(f"{trips.name}.{name}", passive=True)
        except ChannelNotFoundEntity:
            return None
        return queue.declaration_result.consumer_count
