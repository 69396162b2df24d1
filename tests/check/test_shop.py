"""The shop's own check is clean; its two tempting variants are found wrong by exploring alone."""

from __future__ import annotations

import pytest

from contracts.events.order import CancellationRequested
from participants.choreography import shop
from sagas import Choreography
from sagas.check import Never, Report, check

RULES = [
    Never(
        "dispatch_parcel",
        after="refund_payment",
        why="goods never leave after the money went back",
    )
]
#: Every participant with steps: each would undo its own as soon as it hears of the wish.
ALL = {"order": "place_order", "payment": "take_payment", "inventory": "reserve_stock"}


def _codes(report: Report) -> set[str]:
    return {finding.code for finding in report.findings}


def _events(report: Report, code: str) -> list[str]:
    """The events of the trace that shows a finding, in order."""
    trace = next(finding.trace for finding in report.findings if finding.code == code)
    return [event for happening in trace for event in happening.events]


def test_the_shop_is_clean() -> None:
    report = check(shop, rules=RULES, deadline_s=900.0)
    assert report.findings == ()
    # Stated, so that a change of the flow or of the model is noticed.
    assert (report.states, report.transitions, report.ends) == (275, 770, 23)


def test_asking_every_participant_to_cancel_at_once_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for step in shop.steps:
        if step.name in ALL.values() and step.undo is not None:
            asked = (*step.undo.triggers, CancellationRequested)
            monkeypatch.setattr(step.undo, "triggers", asked)
    without_the_rule = check(shop)
    assert {"SAGA301", "SAGA305"} <= _codes(without_the_rule), "it needs no hint"
    report = check(shop, rules=RULES)
    trace = next(finding.trace for finding in report.findings if finding.code == "SAGA304")
    told = list(map(str, trace))
    # The money is back before anybody has written so: effect and write are two moves.
    refund = "payment.refund_payment has its effect, not written yet"
    assert told.index(refund) < len(told) - 1
    assert told[-1].endswith("CarrierDispatched")


def test_undoing_without_tombstones_is_found() -> None:
    without_the_rule = check(shop, tombstones=False)
    assert {"SAGA301", "SAGA303", "SAGA305"} <= _codes(without_the_rule), "it needs no hint"
    report = check(shop, rules=RULES, tombstones=False)
    assert "SAGA304" in _codes(report)
    events = _events(report, "SAGA304")
    assert events.index("ShipmentCancelled") < events.index("CarrierDispatched")
    passed_by = [str(each) for each in report.findings[0].trace if "leaves no trace" in str(each)]
    assert passed_by, "the trace shows the undo that came before its step"


@pytest.mark.parametrize("service", sorted(ALL))
def test_the_shop_without_one_undo_is_found(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = next(step for step in shop.steps if step.name == ALL[service])
    monkeypatch.setattr(step, "undo", None)
    undone = {finding.subject for finding in check(shop).findings if finding.code == "SAGA201"}
    assert f"{service}.{ALL[service]}" in undone or service == "order"
    assert not check(shop).clean


def test_what_is_not_declared_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    step = next(step for step in shop.steps if step.name == "reserve_stock")
    monkeypatch.setattr(step, "kept_on", ())
    (finding,) = check(shop).findings
    assert (finding.code, finding.subject) == ("SAGA202", "inventory.reserve_stock")
    assert "After ParcelLost" in finding.message


def test_a_participant_that_leaves_the_choreography_is_missed() -> None:
    rest = [each for each in shop.participants if each.name != "inventory"]
    broken = Choreography(
        "short", rest, completed_by=shop.completed_by, compensated_by=shop.compensated_by
    )
    assert {"SAGA101", "SAGA105"} <= _codes(check(broken))
