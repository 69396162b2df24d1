"""Why a saga does not end as it was meant to."""

from __future__ import annotations

import re
from collections.abc import Sequence

import orjson

from sagas.tracker.picture import Picture, SagaStatus
from sagas.tracker.plan import Plan
from sagas.tracker.progress import asks_to_undo, refuses, reports_undone
from sagas.tracker.shapes import Failure
from sagas.tracker.timeline import Entry

__all__ = ["failure_of"]

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def failure_of(timeline: Sequence[Entry], picture: Picture) -> Failure | None:
    """``{step, code, detail}`` of what began the undo; ``step`` is null for a request from outside.

    Several things can go wrong in one saga (a parcel is refused while the customer cancels). What
    the undo was really caused by is found by following causes back from its last report; before
    there is one, the earliest counts. ``timeline`` is in order.
    """
    if picture.course not in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED):
        return None
    plan = picture.plan
    began = {entry.id: entry for entry in timeline if _may_begin_undo(entry, picture)}
    cause = _first_cause(timeline, began, plan) or next(iter(began.values()), None)
    if cause is None:
        return None
    said = orjson.loads(cause.data)
    code, detail = said.get("code"), said.get("detail")
    return {
        "step": _refusing_step(cause, plan),
        "code": code if isinstance(code, str) else _WORD.sub("_", cause.type).lower(),
        "detail": detail if isinstance(detail, str) else "",
    }


def _may_begin_undo(entry: Entry, picture: Picture) -> bool:
    """A refusal, or a request from outside the steps; not the report of an undo, which follows."""
    said = picture.plan.said(entry.participant, entry.type)
    if any(meaning is reports_undone for meaning, _ in said):
        return False
    return any(
        meaning is refuses
        or (meaning is asks_to_undo and entry.id not in picture.steps[place].declined)
        for meaning, place in said
    )


def _first_cause(timeline: Sequence[Entry], began: dict[str, Entry], plan: Plan) -> Entry | None:
    by_id = {entry.id: entry for entry in timeline}
    reports = [
        entry
        for entry in timeline
        if entry.type in plan.compensating
        or any(meaning is reports_undone for meaning, _ in plan.said(entry.participant, entry.type))
    ]
    found, link = None, reports[-1] if reports else None
    while link is not None:
        found = began.get(link.id, found)
        # Popped, so that a forged circle of causes ends.
        link = by_id.pop(link.causation_id or "", None)
    return found


def _refusing_step(entry: Entry, plan: Plan) -> str | None:
    for meaning, place in plan.said(entry.participant, entry.type):
        if meaning is refuses:
            return plan.steps[place].name
    return None
