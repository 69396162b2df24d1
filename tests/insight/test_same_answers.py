"""Two hosts, one reducer: what the tracker's process and the Faust application compute is equal.

``--insight-sagas 10000`` is the long form (``make soak``).
"""

from __future__ import annotations

import random
from collections import Counter

import pytest

from participants.insight import business
from sagas.insight import InProcess, merged, row_of
from sagas.insight.answers import failures, overview, steps
from sagas.tracker import SagaView, fold, review
from sagas.tracker.following import TOLERANCE_S
from tests.insight.simulated import PLAN, stream, told
from tests.insight.worker import working


class _Now:
    """The clock of both hosts: it is as late as the newest event that was sent."""

    moment = 0.0

    def now(self) -> float:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody waits here")


@pytest.mark.usefixtures("quiet")
async def test_both_hosts_give_the_same_answers(request: pytest.FixtureRequest) -> None:
    count = request.config.getoption("--insight-sagas")
    clock, views, seen = _Now(), dict[str, SagaView](), Counter[str]()
    here = InProcess(PLAN, business, clock, most_kept=count + 1)
    async with working() as worker:
        for message in stream(told(count), random.Random("insight")):
            clock.moment = worker.now = max(clock.moment, message.time)
            saga_id = message.saga_id
            assert saga_id is not None
            before = views.get(saga_id)
            views[saga_id] = fold(before, message, PLAN, clock.now())
            seen["repeated"] += views[saga_id] is before
            here.saw(saga_id, views[saga_id])
            await worker.tell(message)
        states = worker.states()
        for saga_id, view in views.items():
            # The tracker's timer, which is set for this; the worker looks when it is asked.
            here.saw(saga_id, review(view, PLAN, clock.now() + TOLERANCE_S))
        shares = [each.sums(clock.now()) for each in worker.partitions.values()]
        repeats = sum(each.repeats for each in worker.partitions.values())
    embedded, streamed = await here.sums(), merged(shares)

    # Keyed by saga, value by value: status, events, facts, violations, what is held and overdue.
    assert states.keys() == views.keys()
    for saga_id, view in views.items():
        assert states[saga_id].view == view, saga_id
        assert row_of(states[saga_id].view, PLAN, business) == row_of(view, PLAN, business)
    assert streamed == embedded
    for answer in (overview, steps, failures):
        assert answer(streamed, PLAN, clock.now()) == answer(embedded, PLAN, clock.now())
    assert repeats == seen["repeated"] > 0
    _is_not_empty(embedded)
    print(f"\n{count} sagas, {worker.heard} records, {repeats} of them repeats: equal")


def _is_not_empty(sums: dict[str, dict[str, dict[str, int]]]) -> None:
    """Of everything that may differ there was some."""
    whole = sums["windows"]["1d"]
    for name in ("started", "completed", "compensated", "late", "step|take_payment|failed"):
        assert whole[name] > 0, name
    for kind in ("failed|", "failed by|product", "failed by|postal_area", "time|saga"):
        assert any(name.startswith(kind) for name in whole), kind
    assert sums["in_flight"]
    assert sums["violations_total"]
    assert sums["stuck"]
