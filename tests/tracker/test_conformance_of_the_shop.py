"""Live conformance on the shop: what cannot stand beside a parcel that left, and who is wrong."""

from __future__ import annotations

import pytest

from participants.choreography import shop
from sagas.tracker import Conformance, Entry, Judgement


def _heard(*said: str) -> tuple[Entry, ...]:
    """Events by ``participant Type``, each caused by the one before, where that may be."""
    entries: list[Entry] = []
    for number, each in enumerate(said, 1):
        participant, type_ = each.split()
        cause = entries[-1].id if entries else None
        rooted = participant == "order" or type_.startswith("Parcel")
        entries.append(
            Entry(
                f"event-{number}",
                type_,
                participant,
                float(number),
                "a command" if rooted and type_ != "OrderCancelled" else cause,
                1,
                number,
                "{}",
            )
        )
    return tuple(entries)


ON_ITS_WAY = (
    "order OrderPlaced",
    "payment PaymentTaken",
    "inventory StockReserved",
    "shipping ShipmentScheduled",
    "shipping ParcelDispatched",
)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (("inventory StockReleased",), "SAGA607"),
        (("shipping ShipmentCancelled",), "SAGA607"),
        (("inventory StockRejected",), "SAGA605"),
        (("payment PaymentDeclined",), "SAGA605"),
        (("shipping ParcelDelivered", "order OrderCancelled"), "SAGA606"),
        (("shipping ParcelLost", "shipping ParcelDelivered"), "SAGA605"),
        (("shipping ShipmentRejected",), "SAGA605"),
    ],
)
def test_a_parcel_that_left_forbids(said: tuple[str, ...], code: str) -> None:
    *rest, last = _heard(*ON_ITS_WAY, *said)
    forged = last._replace(causation_id=None)
    found = Conformance(shop).judge((*rest, forged))
    assert [each["code"] for each in found.impossible] == [code]
    assert found.impossible[0]["event"]["type"] == last.type


def test_money_back_for_a_parcel_on_its_way_waits_for_its_loss() -> None:
    conformance = Conformance(shop)
    refunded = _heard(*ON_ITS_WAY, "payment PaymentRefunded")
    refunded = (*refunded[:-1], refunded[-1]._replace(causation_id=None))
    found = conformance.judge(refunded)
    assert [each["rule"] for each in found.unconfirmed] == [
        "PaymentRefunded has come without what it takes: ParcelLost."
    ]
    assert not found.impossible

    lost = Entry("event-9", "ParcelLost", "shipping", 5.5, "a report", 1, 9, "{}")
    assert conformance.judge((*refunded, lost)) == Judgement()
    delivered = lost._replace(type="ParcelDelivered")
    [violation] = conformance.judge((*refunded, delivered)).impossible
    assert violation["event"]["type"] == "PaymentRefunded"


def test_what_is_lacking_is_what_may_still_come() -> None:
    """The money was taken, so the order is not cancelled because it was declined."""
    placed, taken = _heard("order OrderPlaced", "payment PaymentTaken")
    forged = Entry("forged", "OrderCancelled", "order", 3.0, None, 1, 9, "{}")
    [found] = Conformance(shop).judge((placed, taken, forged)).unconfirmed
    assert found["rule"] == (
        "OrderCancelled has come without what it takes: PaymentRefunded and StockRejected."
    )


def test_it_is_the_unfounded_event_that_is_found_wrong() -> None:
    """A forged end comes first, and then the saga goes its way: the way is not to blame."""
    start, *way = _heard(*ON_ITS_WAY, "shipping ParcelDelivered")
    forged = Entry("forged", "OrderCancelled", "order", 1.5, None, 1, 9, "{}")
    conformance = Conformance(shop)
    before = conformance.judge((start, forged, *way[:-1]))
    assert [each["event"]["event_id"] for each in before.unconfirmed] == ["forged"]

    [found] = conformance.judge((start, forged, *way)).impossible
    assert (found["code"], found["event"]["event_id"]) == ("SAGA606", "forged")
    assert [each["type"] for each in found["against"]] == ["ParcelDelivered"]
    assert [each["type"] for each in found["trace"]] == ["OrderPlaced"]
