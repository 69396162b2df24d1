"""Nothing in a worker grows without bound, whatever is sent to it; what it lets go of it counts."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import orjson
import pytest

from contracts.events.order import CancellationRequested, OrderCancelled
from contracts.events.shipping import ParcelDelivered
from participants.insight import business
from sagas.envelope import Message
from sagas.insight import marks, partition, sums_of
from sagas.insight.answers import failures
from sagas.insight.partition import Partition, Tables
from sagas.insight.records import Skipped
from sagas.insight.states import SagaState
from sagas.insight.sums import MOST_LISTED, MOST_NAMES, add
from tests.insight.simulated import PLAN
from tests.insight.test_agent import PLACED, SAGA, START, TAKEN, event

#: What Kafka takes in one record unless it is told otherwise.
KAFKAS_LIMIT = 1_000_000
DELIVERED = ParcelDelivered(order_id=SAGA, shipment_id="s-1")
HOUR_S = 3_600.0


class One:
    """One partition, and what it has written."""

    def __init__(self, sagas: MutableMapping[str, bytes] | None = None) -> None:
        self.sagas = {} if sagas is None else sagas
        self.longest_minute = 0
        tables = Tables(self.sagas, self._write, lambda minute: None)
        self.partition = Partition(0, tables, PLAN, business)
        self.places: Iterator[int] = iter(range(1_000_000))
        states = ((key, SagaState.from_bytes(raw)) for key, raw in self.sagas.items())
        self.partition.restore(states, ())

    def hear(self, message: Message) -> None:
        now = message.time
        self.partition.hear(message, PLAN.read_facts(message), next(self.places), now)

    def told(self, now: float) -> dict[str, Any]:
        return self.partition.sums(now)

    def _write(self, minute: int, raw: bytes) -> None:
        self.longest_minute = max(self.longest_minute, len(raw))


def _long(number: int, size: int) -> Message:
    return event(PLACED.model_copy(update={"customer_id": "x" * size}), number)


@pytest.mark.usefixtures("quiet")
def test_a_saga_that_would_outgrow_its_record_is_kept_as_it_is() -> None:
    one = One()
    one.hear(event(PLACED, 1))
    skipped = []
    for number in range(2, 12):
        try:
            one.hear(_long(number, 100_000))
        except Skipped as skip:
            skipped.append(skip.reason)
    assert set(skipped) == {"saga_too_long"}
    assert len(one.sagas[SAGA]) < KAFKAS_LIMIT
    one.hear(event(TAKEN, 12, cause="event-1"))  # short ones still find room
    assert one.told(START + 20)["in_flight"]["money"] == {"EUR": 10}


def test_a_minute_of_forged_names_fits_into_a_record() -> None:
    counts: dict[str, int] = {}
    for number in range(3 * MOST_NAMES):
        name = marks.part(f"{number}" + '"\\😀' * 100)
        add(counts, {f"failed by|{name}|{name}|{name}": 1})
    assert counts["other"] == 2 * MOST_NAMES
    assert len(orjson.dumps(counts)) < KAFKAS_LIMIT


def test_lists_of_reasons_are_short_however_many_are_forged() -> None:
    minutes = [
        (int(START) // 60 * 60 - 60 * minute, {f"failed|a|{minute}-{n}": 1 for n in range(1_000)})
        for minute in range(60)
    ]
    sums = sums_of((), minutes, START)
    assert len(sums["windows"]["1d"]) < 30_000
    told = failures(sums, PLAN, START)["windows"]["1d"]["by_code"]
    assert len(told) == MOST_LISTED


def test_what_began_outside_is_told_of_no_step() -> None:
    why = {"order_id": SAGA, "code": "cancelled_by_customer", "detail": "asked for"}
    one = One()
    one.hear(event(PLACED, 1))
    one.hear(event(CancellationRequested(**why, by="ada", skus=("LAMP-01",)), 2))
    one.hear(event(OrderCancelled(**why), 3))
    told = failures(one.told(START + 5), PLAN, START + 5)["windows"]["1m"]["by_code"]
    assert [(each["step"], each["code"]) for each in told] == [(None, "cancelled_by_customer")]


def test_open_sagas_without_end_push_out_those_that_began_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(partition, "MOST_OPEN", 10)
    one = One()
    for number in range(25):
        one.hear(event(PLACED, number, saga_id=f"saga-{number:02}"))
    assert sorted(one.sagas) == [f"saga-{number:02}" for number in range(15, 25)]
    assert one.partition.forgotten == 15
    assert one.told(START + 30)["standing"] == {"running": 10}
    again = One(dict(reversed(one.sagas.items())))
    again.hear(event(PLACED, 30, saga_id="saga-30"))
    assert "saga-15" not in again.sagas


def test_events_beside_the_flow_are_forgotten_after_an_hour() -> None:
    one = One()
    for number in range(20):
        one.hear(event(PLACED, number, type="Unheard", saga_id=f"saga-{number}"))
    assert len(one.sagas) == 20
    one.hear(event(PLACED, 30, time=START + HOUR_S + 30))
    assert list(one.sagas) == [SAGA]


def test_a_violation_outlives_its_saga_by_a_day() -> None:
    one = One()
    one.hear(event(PLACED, 1))
    with_violation = {"saga_id": "wrong", "subject": "wrong"}
    one.hear(event(PLACED, 2, source="/catering", **with_violation))
    for saga_id in (SAGA, "wrong"):
        one.hear(event(DELIVERED, 3, saga_id=saga_id))
    one.hear(event(PLACED, 4, saga_id="a", time=START + 2 * HOUR_S))
    assert sorted(one.sagas) == ["a", "wrong"]
    assert one.told(START + 2 * HOUR_S)["violations_total"]
    again = One(one.sagas)
    again.hear(event(PLACED, 5, saga_id="b", time=START + 25 * HOUR_S))
    assert sorted(again.sagas) == ["a", "b"]
