"""Live conformance: each rule fires on its own fault, and stays quiet on the fault's good twin."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from sagas import Choreography, Event, Message
from sagas.events import (
    AttentionNeeded,
    AttentionResolved,
    CancelRequested,
    DeadLetterResolved,
    StepRetrying,
)
from sagas.tracker import BREACHES, Conformance, Entry, Judgement, Plan
from sagas.tracker.violations import line
from tests.tracker import toy
from tests.tracker.history import History, asked_to_stop, folded, ordered


class Sneezed(Event):
    """Nobody declares this."""


class Judge:
    """Judges what a history tells, in any order."""

    def __init__(self, choreography: Choreography, plan: Plan, **options: Any) -> None:
        self.conformance = Conformance(choreography, **options)
        self.plan = plan

    def entries(self, messages: Iterable[Message]) -> tuple[Entry, ...]:
        return folded(messages, self.plan).entries

    def of(self, history: History) -> Judgement:
        """By a close look, which a quick one at the last event agrees with."""
        entries, judge = self.entries(history.messages), self.conformance.judge
        found = judge(entries)
        if judge(entries[:-1]) == Judgement():
            assert judge(entries, True) == found
        return found

    def impossible(self, history: History) -> list[str]:
        return [found["code"] for found in self.of(history).impossible]

    def unconfirmed(self, history: History) -> list[str]:
        return [found["event"]["type"] for found in self.of(history).unconfirmed]

    def is_content(self, history: History) -> bool:
        return self.of(history) == Judgement()

    def codes(self, order: Sequence[Message]) -> tuple[list[str], list[str]]:
        found = self.conformance.judge(self.entries(order))
        return (
            [each["code"] for each in found.impossible],
            [each["event"]["type"] for each in found.unconfirmed],
        )


@pytest.fixture
def judge(choreography: Choreography, plan: Plan) -> Judge:
    return Judge(choreography, plan)


# ---------------------------------------------------------------------------------- what is good


def _delivered(history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried(), toy.HandedOver())


def _refused(history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.PackFailed(), toy.Binned(), toy.OrderVoided())


def _stopped(history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed())
    asked_to_stop(history)
    history.tell(toy.Unpacked(), toy.Binned(), toy.OrderVoided())


def _stopped_early(history: History) -> None:
    """The wish overtakes the packing, which finds a tombstone; the cake was baked already."""
    start = history.tell(ordered())
    retrying = StepRetrying(
        participant="kitchen",
        step="bake",
        attempt=1,
        due=datetime.fromtimestamp(0.0, UTC),
        reason="",
    )
    history.tell(retrying, by="kitchen")
    history.tell(toy.Baked(), cause=start, attempt=2)
    asked_to_stop(history)
    history.tell(toy.Unpacked(), toy.Binned(), toy.OrderVoided())


def _stopped_too_late(history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried())
    for _ in range(2):
        stop = asked_to_stop(history)
        history.tell(toy.StopRefused(), cause=stop)
    history.tell(toy.Dropped(), toy.OrderVoided())


def _troubled(history: History) -> None:
    history.tell(ordered())
    needed = AttentionNeeded(participant="kitchen", step="bake", code="retries_spent", detail="?")
    history.tell(needed, AttentionResolved(participant="kitchen", step="bake"), by="kitchen")
    history.tell(toy.Baked(), cause=history.messages[0])


GOOD = [_delivered, _refused, _stopped, _stopped_early, _stopped_too_late, _troubled]


@pytest.mark.parametrize("story", GOOD, ids=lambda story: story.__name__.strip("_"))
def test_what_may_happen_is_never_impossible_in_any_order_of_arrival(
    story: Any, judge: Judge, history: History
) -> None:
    story(history)
    assert judge.is_content(history)

    entries = judge.entries(history.messages)
    chance = random.Random(story.__name__)
    orders = list(itertools.islice(itertools.permutations(entries), 40_000))
    for order in chance.sample(orders, min(len(orders), 150)):
        in_order = True
        for count in range(1, len(order) + 1):
            quick = judge.conformance.judge(order[:count], in_order)
            assert quick == judge.conformance.judge(order[:count])
            assert not quick.impossible
            in_order = quick == Judgement()
        assert in_order, "the last to come withdraws the last doubt"


@pytest.mark.parametrize("story", GOOD, ids=lambda story: story.__name__.strip("_"))
def test_a_repeat_of_the_same_event_is_no_violation(
    story: Any, judge: Judge, history: History
) -> None:
    story(history)
    twice = [message for message in history.messages for _ in range(2)]
    assert judge.codes(twice) == ([], [])


# ------------------------------------------------------------------------------- what is impossible


def test_an_event_that_no_declaration_names_is_reported(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(Sneezed(), by="kitchen")

    [found] = judge.of(history).impossible

    assert (found["code"], found["name"]) == ("SAGA601", "undeclared-event")
    assert found["status"] == "impossible"
    assert found["event"] == {
        "event_id": "event-2",
        "type": "Sneezed",
        "participant": "kitchen",
        "occurred_at": "2026-01-01T00:00:02.000000Z",
        "causation_id": "event-1",
    }
    assert found["rule"] == "Nothing in the choreography says Sneezed."
    assert "Declare it" in found["advice"]
    assert [each["type"] for each in found["trace"]] == ["Ordered"]


def test_an_event_from_a_stranger_is_reported(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(toy.Baked(), by="courier")
    [found] = judge.of(history).impossible
    assert (found["code"], found["rule"]) == (
        "SAGA602",
        "Baked is said by kitchen, not by courier.",
    )


def test_an_operators_event_may_come_from_anywhere(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(CancelRequested(by="eve", reason="fraud"), by="a script of eve's")
    assert judge.is_content(history)


def test_a_cause_that_never_leads_there_is_reported(judge: Judge, history: History) -> None:
    history.tell(ordered(), toy.Baked())
    start, baked = history.messages
    history.tell(toy.Packed(), cause=start)
    [found] = judge.of(history).impossible
    assert (found["code"], found["rule"]) == ("SAGA603", "Packed is said on Baked, not on Ordered.")
    assert [each["type"] for each in found["against"]] == ["Ordered"]

    history.messages[-1] = replace(history.messages[-1], causation_id=baked.id)
    assert judge.is_content(history)


def test_what_a_command_leads_to_has_no_event_for_a_cause(judge: Judge, history: History) -> None:
    packed = history.tell(ordered(), toy.Baked(), toy.Packed())
    history.tell(toy.Carried(), cause=packed)
    assert judge.impossible(history) == ["SAGA603"]


def test_what_a_step_says_once_is_reported_when_it_comes_again_under_another_id(
    judge: Judge, history: History
) -> None:
    start = history.tell(ordered())
    history.tell(toy.Baked(), toy.Baked(), cause=start)
    [found] = judge.of(history).impossible
    assert (found["code"], found["name"]) == ("SAGA604", "said-twice")
    assert found["event"]["event_id"] == "event-3"
    assert [each["event_id"] for each in found["against"]] == ["event-2"]

    history.messages[-1] = replace(history.messages[-1], causation_id=None)
    assert judge.impossible(history) == ["SAGA604"], "whatever its cause"


def test_an_undo_may_refuse_each_wish_once(judge: Judge, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed(), toy.Carried())
    for _ in range(2):
        stop = asked_to_stop(history)
        history.tell(toy.StopRefused(), cause=stop)
    assert judge.is_content(history)

    history.tell(toy.StopRefused(), cause=stop)
    [found] = judge.of(history).impossible
    assert found["code"] == "SAGA604"
    assert found["rule"].startswith("courier says StopRefused once on one cause")


def test_two_outcomes_of_one_step_are_reported(judge: Judge, history: History) -> None:
    start = history.tell(ordered())
    history.tell(toy.Baked(), toy.BakeFailed(), cause=start)
    [found] = judge.of(history).impossible
    assert (found["code"], found["rule"]) == (
        "SAGA605",
        "bake comes to one outcome: Baked and BakeFailed exclude each other.",
    )
    assert found["event"]["type"] == "BakeFailed"


def test_a_step_that_refused_is_not_undone(judge: Judge, history: History) -> None:
    baked = history.tell(ordered(), toy.Baked())
    history.tell(toy.PackFailed(), cause=baked)
    stop = asked_to_stop(history)
    assert judge.is_content(history)
    history.tell(toy.Unpacked(), cause=stop)
    assert judge.impossible(history) == ["SAGA605"]


def test_a_step_behind_its_own_undo_is_reported_by_its_participants_sequence(
    judge: Judge, history: History
) -> None:
    start = history.tell(ordered())
    asked_to_stop(history)
    history.tell(toy.Unpacked(), toy.Binned())
    late = history.tell(toy.Baked(), cause=start)
    [found] = judge.of(history).impossible
    assert (found["code"], found["rule"]) == (
        "SAGA609",
        "kitchen never says Baked after Binned, but here it did (sequence 6 after 5).",
    )

    for sequence in (4, 5, 0):  # before it, in one write with it, or not told
        history.messages[-1] = replace(late, sequence=sequence)
        assert judge.is_content(history)

    # Whichever is heard last, and whatever the clocks say.
    *before, binned, _ = history.messages
    for time in (late.time, start.time):
        history.messages = [*before, replace(late, time=time), binned]
        assert judge.impossible(history) == ["SAGA609"]


def test_a_verdict_does_not_depend_on_the_order_of_arrival(judge: Judge, history: History) -> None:
    start = history.tell(ordered())
    history.tell(toy.Baked(), toy.BakeFailed(), cause=start)
    history.tell(Sneezed(), by="kitchen")
    history.tell(toy.OrderVoided())
    expected = judge.codes(history.messages)
    assert sorted(expected[0]) == ["SAGA601", "SAGA603", "SAGA605"]
    for order in itertools.permutations(history.messages):
        assert judge.codes(order) == expected


def test_only_so_many_violations_of_one_saga_are_kept(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(*(Sneezed() for _ in range(50)), by="kitchen")
    assert len(judge.of(history).impossible) == 20


# ---------------------------------------------------------------------------- what lacks its cause


def test_what_lacks_its_cause_is_unconfirmed_until_the_cause_arrives(
    judge: Judge, history: History
) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed())
    start, baked, packed = history.messages
    assert judge.codes([packed]) == ([], ["Packed"])
    # Only the first of a row is told: the others stand on it.
    assert judge.codes([packed, baked]) == ([], ["Baked"])
    assert judge.codes([packed, baked, start]) == ([], [])


def test_an_unconfirmed_event_says_what_it_lacks(judge: Judge, history: History) -> None:
    history.tell(ordered(), toy.Baked(), toy.Packed())
    found = judge.conformance.judge(judge.entries(history.messages[2:])).unconfirmed
    assert [each["rule"] for each in found] == [
        "Packed has come without what it takes: its cause (Baked event-2) and Ordered."
    ]
    assert (found[0]["code"], found[0]["status"]) == ("SAGA610", "unconfirmed")


def test_what_a_command_leads_to_waits_for_what_must_come_before(
    judge: Judge, history: History
) -> None:
    """Nobody hears of the command itself, but the saga must have come so far."""
    history.tell(ordered())
    history.tell(toy.HandedOver())
    assert judge.codes(history.messages) == ([], ["HandedOver"])
    [found] = judge.of(history).unconfirmed
    assert "Baked" in found["rule"]

    # The courier's sequence says that it was packed before, whatever arrived first.
    history.messages[-1] = replace(history.messages[-1], sequence=9)
    baked = history.tell(toy.Baked(), cause=history.messages[0])
    history.tell(toy.Packed(), cause=baked)
    assert judge.is_content(history)


def test_a_right_type_is_not_enough_where_a_cause_is_named(judge: Judge, history: History) -> None:
    history.tell(ordered(), toy.Baked())
    history.messages[-1] = replace(history.messages[-1], causation_id="never heard of")
    assert judge.unconfirmed(history) == ["Baked"]

    # Other programs need not name a cause: then it is the type that counts.
    history.messages[-1] = replace(history.messages[-1], causation_id=None)
    assert judge.is_content(history)
    assert judge.codes(history.messages[1:]) == ([], ["Baked"])


def test_trouble_that_is_settled_must_have_been(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(AttentionResolved(participant="kitchen", step="bake"), by="kitchen")
    assert judge.unconfirmed(history) == ["AttentionResolved"]
    needed = AttentionNeeded(participant="courier", step="bake", code="x", detail="")
    history.tell(needed, by="courier")
    assert judge.unconfirmed(history) == ["AttentionResolved"], "of somebody else"
    history.tell(needed.model_copy(update={"participant": "kitchen"}), by="kitchen")
    assert judge.is_content(history)

    resolved = DeadLetterResolved(
        dead_letter_id="dead-1", participant="kitchen", outcome="replayed", by="eve", reason=""
    )
    history.tell(resolved, by="kitchen")
    assert judge.unconfirmed(history) == ["DeadLetterResolved"]


# -------------------------------------------------------------------------------------- the edges


def test_a_choreography_too_large_to_explore_is_held_against_its_declarations(
    choreography: Choreography, plan: Plan, history: History, caplog: pytest.LogCaptureFixture
) -> None:
    judge = Judge(choreography, plan, max_states=5)
    assert "has more than 5 states" in caplog.text
    _refused(history)
    assert judge.is_content(history)

    history.tell(toy.Packed(), cause=history.messages[1])
    assert judge.impossible(history) == ["SAGA605"], "outcomes of one step exclude each other"
    history.messages[-1] = replace(history.messages[-1], source="/kitchen")
    assert judge.impossible(history) == ["SAGA602"]
    assert judge.codes(history.messages[3:-1]) == ([], ["Binned"]), "its cause, by its id"

    history.messages = []
    _delivered(history)
    history.tell(toy.OrderVoided())
    history.messages[-1] = replace(history.messages[-1], causation_id=None)
    assert judge.is_content(history), "that both ends exclude each other is not known"


def test_every_rule_has_its_own_code_and_says_what_to_do() -> None:
    assert list(BREACHES) == sorted(BREACHES)
    assert len({each.name for each in BREACHES.values()}) == len(BREACHES)
    assert all(each.advice.endswith(".") for each in BREACHES.values())


def test_a_forged_name_cannot_forge_a_line_of_the_log(judge: Judge, history: History) -> None:
    history.tell(ordered())
    history.tell(Sneezed(), by="kitchen")
    evil = f"A\nERROR all is lost\x1b[2J{'x' * 500}"
    history.messages[-1] = replace(history.messages[-1], type=evil, source="/\r\n")
    [found] = judge.of(history).impossible
    told = line("saga-1", found)
    assert told.isprintable()
    assert len(told) < 700
    assert "counter Ordered" in told
