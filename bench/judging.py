"""What judging costs the tracker, for each event of the shop: ``python -m bench.judging``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from participants.choreography import shop
from sagas import Message
from sagas.tracker import Conformance, Judgement, Plan, SagaView, fold, plan_of

__all__ = ["main"]

DELIVERED = (
    "order OrderPlaced",
    "payment PaymentTaken",
    "inventory StockReserved",
    "shipping ShipmentScheduled",
    "shipping ParcelDispatched",
    "shipping ParcelInTransit",
    "shipping ParcelDelivered",
)
REFUSED = (
    *DELIVERED[:3],
    "shipping ShipmentRejected",
    "inventory StockReleased",
    "payment PaymentRefunded",
    "order OrderCancelled",
)
TRIES, TIMES = 9, 1_000


def _messages(said: Sequence[str]) -> list[Message]:
    """Each is caused by the one before, parcels by the carrier."""
    found: list[Message] = []
    for number, each in enumerate(said, 1):
        participant, type_ = each.split()
        cause = found[-1].id if found and not type_.startswith("Parcel") else "not heard of"
        found.append(
            Message(
                id=f"event-{number}",
                type=type_,
                source=f"/{participant}",
                subject="saga",
                saga_id="saga",
                sequence=number,
                time=float(number),
                causation_id=cause,
                data=b'{"order_id":"saga","customer_id":"somebody"}',
            )
        )
    return found


def _micros(work: Callable[[], object], events: int) -> float:
    """The best of several tries, for one event."""
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        for _ in range(TIMES):
            work()
        best = min(best, time.perf_counter() - started)
    return best / TIMES / events * 1e6


def _folded(messages: Sequence[Message], plan: Plan) -> SagaView:
    view: SagaView | None = None
    for message in messages:
        view = fold(view, message, plan, 0.0)
    assert view is not None
    return view


def main() -> None:
    """Print the figures."""
    argparse.ArgumentParser(prog="python -m bench.judging", description=__doc__).parse_args()
    started = time.perf_counter()
    conformance = Conformance(shop)
    print(f"exploring, once at the start   {(time.perf_counter() - started) * 1e3:8.1f} ms")
    plan = plan_of(shop)
    unjudged = replace(plan, judge=lambda entries, in_order_before: Judgement())
    for name, said in (("delivered", DELIVERED), ("refused", REFUSED)):
        messages = _messages(said)
        entries = _folded(messages, plan).entries
        heard = [entries[: count + 1] for count in range(len(entries))]
        assert all(conformance.judge(each) == Judgement() for each in heard)
        figures = {
            "folding it, unjudged": lambda messages=messages: _folded(messages, unjudged),
            "folding it": lambda messages=messages: _folded(messages, plan),
            "judging it": lambda heard=heard: [conformance.judge(each, True) for each in heard],
            "a close look": lambda heard=heard: [conformance.judge(each) for each in heard],
        }
        for what, work in figures.items():
            print(f"{name + ': ' + what:30} {_micros(work, len(messages)):8.2f} µs an event")


if __name__ == "__main__":
    main()
