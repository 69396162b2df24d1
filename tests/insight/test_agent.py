"""The Faust agent, without a server: what it folds, what it skips, what it reports."""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from contracts.events.order import CancellationRequested, OrderCancelled, OrderLine, OrderPlaced
from contracts.events.payment import PaymentTaken
from contracts.events.shipping import ParcelDelivered, ParcelDispatched
from contracts.values import Address, Money
from participants.insight import business
from sagas.envelope import Message, encode, event_type
from sagas.insight import InProcess, merged, sums_of
from sagas.insight.records import record_of
from sagas.insight.topics import partition_of
from sagas.tracker import fold
from tests.insight.simulated import PLAN
from tests.insight.worker import PARTITIONS, Worker, working

START = 1_767_225_600.0
SAGA = "018f0000-0000-7000-8000-000000000001"
EMITTERS = {
    OrderPlaced: "order",
    CancellationRequested: "order",
    OrderCancelled: "order",
    PaymentTaken: "payment",
    ParcelDispatched: "shipping",
    ParcelDelivered: "shipping",
}

LINES = (
    OrderLine(sku="LAMP-01", name="Lamp", quantity=2, unit_price=Money(amount=5, currency="EUR")),
)
ADDRESS = Address(line1="1 Main St", city="Springfield", postal_code="12345", country="US")

PLACED = OrderPlaced(
    order_id=SAGA,
    customer_id="ada",
    lines=LINES,
    total=Money(amount=10, currency="EUR"),
    payment_method="card",
    payment_token="tok_secret",
    shipping_address=ADDRESS,
)
TAKEN = PaymentTaken(
    order_id=SAGA,
    customer_id="ada",
    payment_id="p-1",
    amount=Money(amount=10, currency="EUR"),
    lines=LINES,
    shipping_address=ADDRESS,
)
DISPATCHED = ParcelDispatched(order_id=SAGA, shipment_id="s-1", tracking_number="T-1")


def event(of: Any, number: int, cause: str | None = None, **changes: Any) -> Message:
    message = Message(
        id=f"event-{number}",
        type=event_type(type(of)),
        source=f"/{EMITTERS[type(of)]}",
        subject=SAGA,
        saga_id=SAGA,
        sequence=number,
        time=START + number,
        causation_id=cause,
        data=of.model_dump_json().encode(),
    )
    return replace(message, **changes)


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    async with working() as worker:
        worker.now = START + 10
        yield worker


def _whole(worker: Worker) -> dict[str, Any]:
    return merged(each.sums(worker.now) for each in worker.partitions.values())


async def test_an_order_whose_money_is_taken_is_in_flight(worker: Worker) -> None:
    await worker.tell(event(PLACED, 1))
    await worker.tell(event(TAKEN, 2, cause="event-1"))
    sums = _whole(worker)
    assert sums["standing"] == {"running": 1}
    assert sums["in_flight"] == {"money": {"EUR": 10}}
    assert sums["windows"]["1m"]["step|take_payment|done"] == 1
    assert sums["windows"]["1m"]["ms|step take_payment"] == 1000
    assert not sums["violations"]


async def test_the_same_event_twice_is_one_event(worker: Worker) -> None:
    for _ in range(3):
        await worker.tell(event(PLACED, 1))
    assert _whole(worker)["windows"]["1m"]["events"] == 1
    assert sum(each.repeats for each in worker.partitions.values()) == 2


async def test_nothing_secret_or_personal_reaches_kafka(worker: Worker) -> None:
    record = record_of(event(PLACED, 1), PLAN)
    whole = repr(record)
    for secret in ("tok_secret", "Main St", "Springfield", "12345"):
        assert secret not in whole
    assert (
        dict(record.headers)["ce_facts"] == b'{"product":{"LAMP-01":2},"postal_area":{"US 123":1}}'
    )
    assert record.key == SAGA.encode()


async def test_a_step_that_does_not_report_in_time_is_stuck(worker: Worker) -> None:
    await worker.tell(event(PLACED, 1))
    step = next(each for each in PLAN.steps if each.name == "take_payment")
    worker.now = START + 1 + step.deadline_s
    (found,) = _whole(worker)["stuck"]
    assert (found["saga_id"], found["step"], found["participant"]) == (
        SAGA,
        "take_payment",
        "payment",
    )


async def test_an_impossible_event_is_reported_at_once_with_its_trace(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    await worker.tell(event(PLACED, 1))
    with caplog.at_level(logging.ERROR, logger="sagas.insight"):
        await worker.tell(event(TAKEN, 2, cause="event-1", source="/catering"))
    (found,) = _whole(worker)["violations"]
    assert (found["saga_id"], found["code"], found["name"]) == (
        SAGA,
        "SAGA602",
        "wrong-participant",
    )
    assert [each["type"] for each in found["trace"]] == ["OrderPlaced"]
    assert "SAGA602" in caplog.text
    assert SAGA in caplog.text
    assert "order OrderPlaced" in caplog.text


async def test_an_event_without_its_cause_is_reported_after_its_waiting_time(
    worker: Worker,
) -> None:
    await worker.tell(event(PLACED, 1))
    await worker.tell(event(DISPATCHED, 2, cause="event-9"))
    assert not _whole(worker)["violations"]
    worker.now += PLAN.cause_wait_s - 0.5
    assert not _whole(worker)["violations"]
    worker.now += 0.5
    (found,) = _whole(worker)["violations"]
    assert (found["code"], found["status"]) == ("SAGA610", "unconfirmed")


BAD: dict[str, Callable[[], tuple[bytes | None, bytes | None, Any]]] = {
    "no value": lambda: (b"k", None, ()),
    "no JSON": lambda: (SAGA.encode(), b"\xff{", record_of(event(PLACED, 1), PLAN).headers),
    "no attributes": lambda: (SAGA.encode(), b"{}", ()),
    "an attribute that is none": lambda: (SAGA.encode(), b"{}", [("ce_time", b"yesterday")]),
    "too long": lambda: (SAGA.encode(), b"1" * 2_000_000, ()),
    "an attribute without a value": lambda: (
        SAGA.encode(),
        b"{}",
        [(name, None) for name, _ in record_of(event(PLACED, 1), PLAN).headers],
    ),
    "a structured event that is none": lambda: (
        SAGA.encode(),
        b"[]",
        [("content-type", b"application/cloudevents+json")],
    ),
}


@pytest.mark.parametrize("what", BAD)
async def test_what_cannot_be_read_is_counted_and_skipped(worker: Worker, what: str) -> None:
    await worker.put(*BAD[what]())
    await worker.tell(event(PLACED, 1))
    share = worker.insight.share_of(worker.partitions)
    assert share["skipped"] == {"undecodable": 1}
    assert share["last_skipped"][0]["place"].endswith("/0")
    assert _whole(worker)["standing"] == {"running": 1}


async def test_a_record_in_the_wrong_partition_begins_no_second_saga(worker: Worker) -> None:
    await worker.tell(event(PLACED, 1))
    again = record_of(event(TAKEN, 2, cause="event-1"), PLAN)
    right = partition_of(again.key, PARTITIONS)
    await worker.put(again.key, again.value, again.headers, partition=(right + 1) % PARTITIONS)
    assert worker.insight.skipped == {"wrong_key": 1}
    (state,) = worker.states().values()
    assert (state.partition, len(state.view.entries)) == (right, 1)


async def test_the_wrong_key_an_unknown_version_and_the_future_are_skipped_by_name(
    worker: Worker,
) -> None:
    good = record_of(event(PLACED, 1), PLAN)
    await worker.put(b"another", good.value, good.headers)
    await worker.tell(event(PLACED, 1, version=9))
    await worker.tell(event(PLACED, 1, time=worker.now + 301))
    assert worker.insight.skipped == {"wrong_key": 1, "unknown_version": 1, "from_the_future": 1}
    assert not worker.states()
    await worker.tell(event(PLACED, 1))
    assert list(worker.states()) == [SAGA]


async def test_headers_without_a_value_are_no_attributes(worker: Worker) -> None:
    good = record_of(event(PLACED, 1), PLAN)
    await worker.put(good.key, good.value, [*good.headers, ("ce_mood", None), ("trace", None)])
    assert list(worker.states()) == [SAGA]
    assert not worker.insight.skipped


async def test_a_structured_event_is_understood_too(worker: Worker) -> None:
    kind = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    await worker.put(SAGA.encode(), encode(event(PLACED, 1)), kind)
    assert _whole(worker)["standing"] == {"running": 1}


async def test_forged_facts_are_no_facts(worker: Worker) -> None:
    good = record_of(event(PLACED, 1), PLAN)
    forged = orjson.dumps(
        {"money": {"EUR": 1e99, "x" * 500: 3}, "product": [1], 5: {}} | {},
        option=orjson.OPT_NON_STR_KEYS,
    )
    headers = [(n, forged if n == "ce_facts" else v) for n, v in good.headers]
    await worker.put(good.key, good.value, headers)
    (state,) = worker.states().values()
    assert orjson.loads(state.view.entries[0].facts) == {"money": {"x" * 80: 3}}


async def test_events_of_no_saga_are_nothing_to_it(worker: Worker) -> None:
    await worker.tell(event(PLACED, 1, saga_id=None))
    assert not worker.states()
    assert not worker.insight.skipped
    assert PARTITIONS == 4


def _sent_back(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Faust's consumer is not there without a server: what it is asked is written down."""
    sent_back = []

    async def seek(place: Any, offset: int) -> None:
        sent_back.append((place.partition, offset))

    async def earliest_offsets(place: Any) -> dict[Any, int]:
        return {place: 0}

    monkeypatch.setattr(worker.insight.app.consumer, "seek", seek)
    monkeypatch.setattr(worker.insight.app.consumer, "earliest_offsets", earliest_offsets)
    return sent_back


def _in_partition(number: int, count: int) -> list[str]:
    """Sagas that belong there."""
    names = (f"saga-{each}" for each in itertools.count())
    found = (each for each in names if partition_of(each.encode(), PARTITIONS) == number)
    return list(itertools.islice(found, count))


async def test_records_that_were_left_out_are_asked_for_again(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_back = _sent_back(worker, monkeypatch)
    sagas = _in_partition(1, 4)
    told = [event(PLACED, n, saga_id=saga_id) for n, saga_id in enumerate(sagas)]
    for place in (0, 2, 3, 1, 2, 3):
        record = record_of(told[place], PLAN)
        await worker.put(record.key, record.value, record.headers, partition=1, place=place)
        await worker.insight._look()
        worker.now += 3.0
    # By themselves they did not come in time.
    assert sent_back == [(1, 1)]
    assert sorted(worker.states()) == sorted(sagas)
    assert [state.places for state in worker.states().values()] == [(0,), (1,), (2,), (3,)]
    assert worker.insight.places.holes == 1


async def test_records_that_were_left_out_are_asked_for_though_no_other_comes(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent_back = _sent_back(worker, monkeypatch)
    for place, saga_id in zip((0, 2), _in_partition(1, 2), strict=True):
        record = record_of(event(PLACED, place, saga_id=saga_id), PLAN)
        await worker.put(record.key, record.value, record.headers, partition=1, place=place)
    await worker.insight._look()
    assert not sent_back  # they may come by themselves
    worker.now += 3.0
    await worker.insight._look()
    assert sent_back == [(1, 1)]


async def test_a_worker_that_cannot_keep_what_it_hears_ends_and_says_why(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Faust would leave its agent dead and the worker alive, which nobody would notice."""
    key, value, headers, _ = record_of(event(PLACED, 1), PLAN)
    number = partition_of(key, PARTITIONS)
    with pytest.raises(SystemExit):
        # Its tables take nothing from outside of a stream.
        worker.insight._changes(worker.record(key, value, headers, number, 0))
    assert f"record {number}/0 cannot be kept" in caplog.text
    assert "Cannot modify table" in caplog.text


async def test_a_worker_that_cannot_read_its_tables_ends_and_says_why(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    """Faust passes over what fails when tables are recovered: it would tell sums of nothing."""
    worker.insight._sagas.data["another"] = b'{"of": "another version"}'
    with pytest.raises(SystemExit):
        await worker.insight._restore()
    assert "the tables of group insight cannot be read" in caplog.text


async def test_a_saga_that_ended_an_hour_ago_is_forgotten_and_stays_so(worker: Worker) -> None:
    delivered = ParcelDelivered(order_id=SAGA, shipment_id="s-1")
    await worker.tell(event(PLACED, 1))
    await worker.tell(event(delivered, 2))
    assert SAGA in worker.states()
    (number,) = (n for n, each in worker.partitions.items() if each.events)
    another = _in_partition(number, 1)[0]
    worker.now = START + 3_700
    await worker.tell(event(PLACED, 3, time=START + 3_700, saga_id=another))
    assert list(worker.states()) == [another]
    await worker.tell(event(PLACED, 1))
    assert list(worker.states()) == [another]
    assert worker.partitions[number].forgotten == 1


async def test_a_late_event_counts_as_late_and_as_nothing_else() -> None:
    placed, taken = event(PLACED, 1), event(TAKEN, 400, cause="event-1", time=START + 400)
    here = InProcess(PLAN, business, _At(START + 500))
    view = fold(fold(None, taken, PLAN, START), placed, PLAN, START)
    here.saw(SAGA, view)
    day = (await here.sums())["windows"]["1d"]
    assert day["late"] == 1
    assert day["events"] == 1
    assert "step|place_order|done" not in day
    assert sums_of((), (), START)["windows"]["1d"] == {}


class _At:
    def __init__(self, moment: float) -> None:
        self.moment = moment

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")
