"""The tracker holds what it hears against the choreography: recorded, logged, counted and shown."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sagas import Choreography, Event, Message
from sagas.tracker import Plan, fold, news, plan_of, review
from sagas.tracker.plan import CAUSE_WAIT_S
from tests.tracker import toy
from tests.tracker.alone import Alone
from tests.tracker.bakery import Bakery
from tests.tracker.history import SAGA, START, History, folded, ordered


class Sneezed(Event):
    """Nobody declares this."""


async def _codes(alone: Alone) -> list[str]:
    return [found["code"] for found in (await alone.saga())["violations"]]


async def test_an_impossible_event_is_recorded_logged_counted_and_shown_at_once(
    alone: Alone, caplog: pytest.LogCaptureFixture
) -> None:
    await alone.hear(ordered(), toy.Baked())
    assert await _codes(alone) == []
    await alone.publish(replace(alone.history.messages[-1], id="forged"))

    saga = await alone.saga()
    [found] = saga["violations"]
    assert (found["code"], found["event"]["event_id"]) == ("SAGA604", "forged")
    assert [each["type"] for each in found["trace"]] == ["Ordered", "Baked"]
    assert "forged" in [event["event_id"] for event in saga["events"]], "nothing is dropped for it"
    assert saga["status"] == "running"
    [listed] = await alone.tracker.find_sagas()
    assert alone.tracker.listed(listed)["violations"] == [found]
    assert alone.tracker.violations["SAGA604"] == 1
    [record] = [each for each in caplog.records if each.levelno >= logging.ERROR]
    for word in (SAGA, "SAGA604", "said-twice", "counter Ordered → kitchen Baked", "ran twice"):
        assert word in record.message


async def test_a_violation_is_told_once(alone: Alone, caplog: pytest.LogCaptureFixture) -> None:
    await alone.hear(ordered(), toy.Baked())
    forged = replace(alone.history.messages[-1], id="forged")
    for _ in range(3):
        await alone.publish(forged)
    await alone.hear(toy.Packed())

    assert await _codes(alone) == ["SAGA604"]
    assert alone.tracker.violations["SAGA604"] == 1
    assert caplog.text.count("SAGA604") == 1


async def test_what_comes_before_its_cause_is_not_shown_and_withdrawn_when_that_arrives(
    alone: Alone,
) -> None:
    start = alone.history.tell(ordered())
    await alone.hear(toy.Baked())
    assert await _codes(alone) == []
    view = await alone.tracker.view(SAGA)
    assert view is not None
    assert list(view.unconfirmed) == ["event-2"]

    await alone.until(START + CAUSE_WAIT_S / 2)
    await alone.publish(start)
    view = await alone.tracker.view(SAGA)
    assert view is not None
    assert view.unconfirmed == {}
    await alone.until(START + 3 * CAUSE_WAIT_S)
    assert await _codes(alone) == []
    assert not any(alone.tracker.violations.values())


async def test_a_cause_that_does_not_come_is_reported_after_the_waiting_time(
    alone: Alone, caplog: pytest.LogCaptureFixture
) -> None:
    start = alone.history.tell(ordered())
    await alone.hear(toy.Baked())
    heard_at = alone.clock.now()
    await alone.until(heard_at + CAUSE_WAIT_S - 0.5)
    assert await _codes(alone) == []

    await alone.until(heard_at + CAUSE_WAIT_S + 0.5)
    [found] = (await alone.saga())["violations"]
    assert (found["code"], found["status"]) == ("SAGA610", "unconfirmed")
    assert found["rule"] == "Baked has come without what it takes: its cause (Ordered event-1)."
    assert alone.tracker.violations["SAGA610"] == 1
    assert "SAGA610 cause-missing (unconfirmed)" in caplog.text

    await alone.publish(start)
    assert await _codes(alone) == [], "withdrawn"
    assert alone.tracker.violations["SAGA610"] == 1, "a counter only grows"


async def test_the_waiting_time_holds_across_a_restart_of_the_tracker(alone: Alone) -> None:
    alone.history.tell(ordered())
    await alone.hear(toy.Baked())
    await alone.tracker.kill()
    await alone.until(START + 10 * CAUSE_WAIT_S)
    alone.tracker = alone.new_tracker()
    await alone.tracker.start()
    await alone.until(alone.clock.now() + 0.5)

    assert await _codes(alone) == ["SAGA610"]


async def test_a_backlog_that_is_heard_late_is_not_overdue_at_once(alone: Alone) -> None:
    """Waiting begins when the tracker hears of it, not when it happened."""
    await alone.until(START + 10 * CAUSE_WAIT_S)
    start = alone.history.tell(ordered())
    await alone.hear(toy.Baked())
    assert await _codes(alone) == []
    await alone.publish(start)
    assert await _codes(alone) == []


async def test_stuck_and_unconfirmed_are_each_noticed_in_their_time(alone: Alone) -> None:
    await alone.hear(ordered())
    alone.history.tell(toy.Baked())
    await alone.hear(toy.Packed())
    await alone.until(START + toy.BAKE_DEADLINE_S + 5.0)
    assert await alone.stuck()
    assert await _codes(alone) == []
    await alone.until(START + CAUSE_WAIT_S + 5.0)
    assert await _codes(alone) == ["SAGA610"]
    assert await alone.stuck()


async def test_events_of_another_choreography_are_none_of_its_business(alone: Alone) -> None:
    await alone.publish(alone.history.tell(Sneezed(), by="patient"))
    assert not any(alone.tracker.violations.values())
    await alone.hear(ordered())
    assert await _codes(alone) == ["SAGA601"], "it is of ours, as it turns out"


async def test_the_toy_at_work_gives_no_reason_to_complain(bakery: Bakery) -> None:
    await bakery.order()
    await bakery.tracker.cancel(SAGA, by="eve", reason="recall")
    await bakery.settle()
    await bakery.order("saga-2", parcel="huge")
    bakery.oven.fault = "broken"
    await bakery.order("saga-3")
    [letter] = await bakery.letters()
    bakery.oven.fault = None
    await bakery.tracker.replay(letter, by="eve", reason="repaired")
    await bakery.settle()

    for saga_id in (SAGA, "saga-2", "saga-3"):
        saga = await bakery.saga(saga_id)
        assert saga["violations"] == []
        view = await bakery.tracker.view(saga_id)
        assert view is not None
        assert view.unconfirmed == {}


# ------------------------------------------------------------------- the reducer, for another host


def test_a_fold_is_told_what_is_new(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked())
    before = folded(history.messages, plan)
    forged = replace(history.messages[-1], id="forged")
    after = fold(before, forged, plan, START)
    assert [each["code"] for each in news(before, after)] == ["SAGA604"]
    assert news(None, after) == news(before, after)
    again = fold(after, history.tell(toy.Packed()), plan, START)
    assert again.violations == after.violations
    assert news(after, again) == []


def test_a_waiting_time_is_a_setting(choreography: Choreography, history: History) -> None:
    plan = plan_of(choreography, cause_wait_s=5.0)
    history.tell(ordered(), toy.Baked())
    view = folded(history.messages[1:], plan)
    assert review(view, plan, START + 4.9).violations == ()
    assert len(review(view, plan, START + 5.0).violations) == 1


@pytest.mark.parametrize("arrival", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_stored_views_from_before_go_on(
    arrival: Sequence[int], plan: Plan, history: History
) -> None:
    """A view that was stored before anybody judged it has no mark of it."""
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried())
    messages: list[Message] = [history.messages[place] for place in arrival]
    view = folded(messages[:-1], plan)
    stored = view.model_dump(exclude={"violations", "unconfirmed"})
    restored = type(view).model_validate(stored)
    assert fold(restored, messages[-1], plan, START).violations == ()
