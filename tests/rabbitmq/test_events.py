"""Events as AMQP messages and back, without a server."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sagas.brokers.rabbitmq_events import envelope_of, events_in
from sagas.envelope import Message
from sagas.errors import Permanent
from tests.rabbitmq.conftest import event

KINDS = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")


def there_and_back(*messages: Message) -> list[Message | Permanent]:
    sent = envelope_of(messages)
    return events_in(sent.content_type, sent.headers, sent.body)


def test_one_event_travels_in_binary_mode() -> None:
    message = event("m1", causation_id="m0", to="hotel", attempt=3, data='{"ü":1}'.encode())
    sent = envelope_of([message])
    assert sent.content_type == "application/json"
    assert sent.body == message.data
    assert sent.headers["cloudEvents:addressee"] == "hotel"
    assert there_and_back(message) == [message]


def test_several_travel_in_a_batch() -> None:
    messages = [event(f"m{n}", data=b'{"n":%d}' % n) for n in range(5)]
    assert envelope_of(messages).content_type == "application/cloudevents-batch+json"
    assert there_and_back(*messages) == messages


@pytest.mark.parametrize("count", [1, 2])
def test_both_are_persistent(count: int) -> None:
    assert envelope_of([event(f"m{n}") for n in range(count)]).delivery_mode == 2


def test_whatever_comes_is_an_event_or_a_fault() -> None:
    """What is not random enough to be nonsense: a good message with something changed."""
    chance = random.Random("whatever")
    faults = 0
    for _ in range(3_000):
        messages = [event(f"m{n}") for n in range(chance.choice((1, 3)))]
        sent = envelope_of(messages)
        body, headers = bytearray(sent.body), dict(sent.headers)
        for _ in range(chance.randrange(4)):
            body[chance.randrange(len(body))] = chance.randrange(256)
        for name in chance.sample(sorted(headers), min(len(headers), chance.randrange(3))):
            headers[name] = chance.choice(ODD)
        kind = chance.choice((sent.content_type, *KINDS, None, ""))
        found = events_in(kind, headers, bytes(body))
        assert found
        faults += any(isinstance(each, Permanent) for each in found)
    assert 500 < faults < 3_000


ODD: list[Any] = [None, "", "x" * 2_000, "\x00", 0, -1, 10**30, 1.5, b"\xff", [], {}, True, "ü" * 9]
