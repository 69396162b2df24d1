"""The saga's view: each way a saga can go, whatever order its events arrive in."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime

import pytest

from sagas.events import (
    AttentionNeeded,
    AttentionResolved,
    CancelRequested,
    DeadLettered,
    DeadLetterResolved,
    StepRetrying,
)
from sagas.tracker import Plan, concerns_a_saga
from tests.tracker import toy
from tests.tracker.history import SAGA, START, History, folded, ordered, shown, statuses

WHEN = datetime.fromtimestamp(START, UTC)


def test_a_saga_that_goes_well_is_completed(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried(), toy.HandedOver())

    saga = shown(history.messages, plan)

    assert saga["saga_id"] == SAGA
    assert saga["type"] == "cake-to-table"
    assert saga["status"] == "completed"
    assert set(statuses(saga).values()) == {"done"}
    assert (saga["started_at"], saga["finished_at"], saga["updated_at"]) == (
        "2026-01-01T00:00:01.000000Z",
        "2026-01-01T00:00:05.000000Z",
        "2026-01-01T00:00:05.000000Z",
    )
    assert saga["duration_ms"] == 4000
    assert saga["remaining"] == []
    assert saga["failure"] is None
    assert saga["violations"] == []
    assert folded(history.messages, plan).owner == "ada"


def test_a_step_begins_with_its_trigger_or_with_its_own_report(
    plan: Plan, history: History
) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed())
    history.tell(toy.Carried(), attempt=3)

    steps = {step["name"]: step for step in shown(history.messages, plan)["steps"]}

    assert steps["bake"]["started_at"] == "2026-01-01T00:00:01.000000Z"
    assert steps["bake"]["finished_at"] == "2026-01-01T00:00:02.000000Z"
    assert steps["bake"]["participant"] == "kitchen"
    assert steps["bake"]["compensation"] == "bin_cake"
    # Commands are not heard, so these begin when they are done.
    assert steps["take_order"]["started_at"] == steps["take_order"]["finished_at"]
    assert steps["carry"]["started_at"] == steps["carry"]["finished_at"]
    assert steps["carry"]["compensation"] is None
    assert steps["carry"]["attempts"] == 3
    assert steps["hand_over"]["started_at"] is None
    assert steps["hand_over"]["attempts"] == 0


def test_a_running_saga_says_what_remains(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked())

    saga = shown(history.messages, plan)

    assert saga["status"] == "running"
    assert saga["remaining"] == ["pack", "carry", "hand_over"]
    assert saga["finished_at"] is None
    assert saga["duration_ms"] is None


def test_a_refusal_is_undone_step_by_step(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.PackFailed(code="too_big", detail="No."))
    saga = shown(history.messages, plan)
    assert saga["status"] == "compensating"
    assert statuses(saga) == {
        "take_order": "done",
        "bake": "compensating",
        "pack": "failed",
        "carry": "pending",
        "hand_over": "pending",
    }
    assert saga["remaining"] == []

    history.tell(toy.Binned(code="too_big"))
    assert statuses(shown(history.messages, plan))["take_order"] == "compensating"

    history.tell(toy.OrderVoided(code="too_big"))
    saga = shown(history.messages, plan)
    assert saga["status"] == "compensated"
    assert saga["duration_ms"] == 4000
    assert statuses(saga) == {
        "take_order": "compensated",
        "bake": "compensated",
        "pack": "failed",
        "carry": "skipped",
        "hand_over": "skipped",
    }
    assert saga["failure"] == {"step": "pack", "code": "too_big", "detail": "No."}


def test_an_end_without_anything_to_undo_is_an_end_too(plan: Plan, history: History) -> None:
    history.tell(toy.OrderVoided(code="never_began"))

    saga = shown(history.messages, plan)

    assert saga["status"] == "compensated"
    assert saga["duration_ms"] == 0
    assert statuses(saga)["take_order"] == "skipped"


def test_a_cancellation_on_request_has_no_step_to_blame(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.StopAsked(code="stopped_by_guest", detail="Changed my mind."))
    history.tell(toy.Unpacked(), toy.Binned(), toy.OrderVoided())

    saga = shown(history.messages, plan)

    assert saga["status"] == "compensated"
    assert saga["failure"] == {
        "step": None,
        "code": "stopped_by_guest",
        "detail": "Changed my mind.",
    }
    assert statuses(saga)["pack"] == "skipped"  # its undo came first: a tombstone
    assert statuses(saga)["bake"] == "skipped"


def test_a_tombstone_counts_as_undone_once_its_step_turns_out_to_have_run(
    plan: Plan, history: History
) -> None:
    start = history.tell(ordered())
    history.tell(toy.StopAsked(), toy.Unpacked(), toy.Binned(), toy.OrderVoided())
    history.tell(toy.Baked(), cause=start)

    saga = shown(history.messages, plan)

    assert statuses(saga)["bake"] == "compensated"
    assert saga["status"] == "compensated"


def test_a_step_that_turns_out_to_have_run_must_be_undone_first(
    plan: Plan, history: History
) -> None:
    start = history.tell(ordered())
    history.tell(toy.BakeFailed(), toy.OrderVoided())
    assert shown(history.messages, plan)["status"] == "compensated"

    history.tell(toy.Packed(), cause=start)  # impossible, but here it is

    saga = shown(history.messages, plan)
    assert saga["status"] == "compensating"
    assert saga["finished_at"] is None


def test_a_refused_cancellation_lets_the_saga_run_on(plan: Plan, history: History) -> None:
    carried = history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried())
    history.tell(toy.StopAsked(code="late", detail="Too late?"))
    asked = shown(history.messages, plan)
    assert asked["status"] == "compensating"
    assert statuses(asked)["pack"] == "compensating"

    history.tell(toy.StopRefused())
    saga = shown(history.messages, plan)
    assert saga["status"] == "running"
    assert saga["failure"] is None
    assert saga["remaining"] == ["hand_over"]

    history.tell(toy.HandedOver(), cause=carried)
    assert shown(history.messages, plan)["status"] == "completed"


def test_a_request_that_nobody_has_answered_is_still_open_after_another_was_refused(
    plan: Plan, history: History
) -> None:
    packed = history.tell(ordered(), toy.Baked(), toy.Packed())
    first = history.tell(toy.StopAsked(), cause=packed)
    history.tell(toy.StopAsked(), cause=packed)
    history.tell(toy.StopRefused(), cause=first)

    assert shown(history.messages, plan)["status"] == "compensating"


def test_a_loss_behind_the_pivot_keeps_what_is_declared_kept(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried())
    history.tell(toy.Dropped(code="dropped", detail="It fell."))
    assert shown(history.messages, plan)["status"] == "compensating"

    history.tell(toy.OrderVoided(code="dropped"))
    saga = shown(history.messages, plan)

    assert saga["status"] == "compensated"
    assert statuses(saga) == {
        "take_order": "compensated",
        "bake": "done",  # declared kept
        "pack": "done",  # its undo would refuse: the cake has left
        "carry": "done",
        "hand_over": "failed",
    }
    assert saga["failure"] == {"step": "hand_over", "code": "dropped", "detail": "It fell."}


def test_what_really_began_the_undo_is_told_when_two_things_went_wrong(
    plan: Plan, history: History
) -> None:
    baked = history.tell(ordered(), toy.Baked())
    history.tell(toy.StopAsked(code="stopped", detail="Asked first, and too late."))
    failed = history.tell(toy.PackFailed(code="too_big", detail="No."), cause=baked)
    assert shown(history.messages, plan)["failure"]["code"] == "stopped"

    history.tell(toy.Binned(), cause=failed)
    history.tell(toy.OrderVoided())

    saga = shown(history.messages, plan)
    assert saga["status"] == "compensated"
    assert saga["failure"] == {"step": "pack", "code": "too_big", "detail": "No."}


def test_tries_are_counted_while_a_step_is_retried(plan: Plan, history: History) -> None:
    start = history.tell(ordered())
    for attempt in (2, 1):
        retry = StepRetrying(
            participant="kitchen", step="bake", attempt=attempt, due=WHEN, reason="no gas"
        )
        history.tell(retry, cause=start, by="kitchen")
    steps = shown(history.messages, plan)["steps"]
    assert (steps[1]["status"], steps[1]["attempts"]) == ("pending", 2)

    history.tell(toy.Baked(), cause=start, attempt=3)
    assert shown(history.messages, plan)["steps"][1]["attempts"] == 3


def test_attention_stands_until_it_is_resolved(plan: Plan, history: History) -> None:
    needed = AttentionNeeded(participant="kitchen", step="bake", code="retries_spent", detail="?")
    settled = AttentionResolved(participant="kitchen", step="bake")
    start = history.tell(ordered())
    history.tell(needed, by="kitchen")
    saga = shown(history.messages, plan)
    assert saga["status"] == "attention"
    assert saga["remaining"] == ["bake", "pack", "carry", "hand_over"]

    history.tell(settled, by="kitchen")
    assert shown(history.messages, plan)["status"] == "running"

    history.tell(needed, by="kitchen", cause=start)
    assert shown(history.messages, plan)["status"] == "attention"
    assert shown(history.messages[::-1], plan)["status"] == "attention"


def test_a_dead_letter_needs_attention_until_it_is_resolved(plan: Plan, history: History) -> None:
    history.tell(ordered())
    history.tell(_dead(history), by="kitchen")
    saga = shown(history.messages, plan)
    assert saga["status"] == "attention"
    assert "4000-1234" not in repr(saga)

    resolved = DeadLetterResolved(
        dead_letter_id="dead-1", participant="kitchen", outcome="replayed", by="eve", reason="fixed"
    )
    history.tell(resolved, by="kitchen")
    assert shown(history.messages, plan)["status"] == "running"
    assert shown(history.messages[::-1], plan)["status"] == "running"


def test_both_ends_at_once_need_a_person(plan: Plan, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried(), toy.HandedOver())
    history.tell(toy.OrderVoided())

    assert shown(history.messages, plan)["status"] == "attention"


def test_events_beside_the_flow_make_no_saga(plan: Plan, history: History) -> None:
    history.tell(CancelRequested(by="eve", reason="why not"), by="tracker")

    assert folded(history.messages, plan).started_at is None


def test_private_messages_and_those_of_no_saga_are_not_folded(history: History) -> None:
    assert concerns_a_saga(history.tell(ordered()))
    assert not concerns_a_saga(history.tell(ordered(), to="kitchen"))
    message = history.tell(ordered())
    object.__setattr__(message, "saga_id", None)
    assert not concerns_a_saga(message)


def _story(name: str, history: History) -> None:
    """Seven events of each kind of ending."""
    if name == "completed":
        packed = history.tell(ordered(), toy.Baked(), toy.Packed())
        history.tell(toy.Carried(), toy.StopAsked(), toy.StopRefused())
        history.tell(toy.HandedOver(), cause=packed)
    elif name == "refused":
        baked = history.tell(ordered(), toy.Baked())
        failed = history.tell(toy.PackFailed(code="too_big"))
        history.tell(toy.StopAsked(code="stopped"), cause=baked)
        history.tell(toy.Binned(), cause=failed)
        history.tell(toy.OrderVoided())
    elif name == "cancelled":
        start = history.tell(ordered())
        history.tell(toy.StopAsked(code="stopped"), toy.Unpacked(), toy.Binned())
        history.tell(toy.OrderVoided())
        history.tell(toy.Baked(), cause=start, attempt=2)
    else:
        history.tell(ordered())
        history.tell(_dead(history), by="kitchen")
        needed = AttentionNeeded(participant="kitchen", step="bake", code="x", detail="?")
        history.tell(needed, AttentionResolved(participant="kitchen", step="bake"), by="kitchen")
        history.tell(toy.BakeFailed(), toy.OrderVoided())


def _dead(history: History) -> DeadLettered:
    return DeadLettered(
        dead_letter_id="dead-1",
        participant="kitchen",
        collection="kitchen",
        key=SAGA,
        message_id="event-1",
        message_type="Ordered",
        cause="Permanent",
        detail="no oven for 4000-1234",
        stack="card='4000-1234'",
        message=repr(history.messages[0].data),
    )


@pytest.mark.parametrize("name", ["completed", "refused", "cancelled", "troubled"])
def test_no_order_of_arrival_and_no_repeat_makes_a_difference(
    name: str, plan: Plan, history: History
) -> None:
    _story(name, history)
    expected = shown(history.messages, plan)
    chance = random.Random(name)

    orders = list(itertools.permutations(history.messages))
    for order in chance.sample(orders, min(len(orders), 720)):
        arrived = list(order)
        arrived[chance.randrange(len(arrived)) :] += chance.choices(arrived, k=2)
        for message in chance.choices(arrived, k=2):
            arrived.insert(chance.randrange(len(arrived) + 1), message)
        assert shown(arrived, plan) == expected
    assert expected["events"] == sorted(expected["events"], key=lambda event: event["occurred_at"])
