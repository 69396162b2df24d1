"""The saga as clients read it (the public contract's resource)."""

from __future__ import annotations

from typing import Final

import orjson

from sagas.envelope import rfc3339
from sagas.tracker.failure import failure_of
from sagas.tracker.picture import Picture, SagaStatus, StepStatus, look
from sagas.tracker.plan import Plan
from sagas.tracker.redaction import REDACTED
from sagas.tracker.shapes import ListedSaga, Saga, SagaEvent, Step
from sagas.tracker.timeline import Entry, in_order
from sagas.tracker.view import SagaView

__all__ = ["event_resource", "saga_resource", "version_of"]

#: What the engine tells operators: errors may quote what is nobody else's business.
_STAFF_ONLY: Final = {
    "StepRetrying": ("reason",),
    "AttentionNeeded": ("detail",),
    "DeadLetterResolved": ("by", "reason"),
}


def version_of(view: SagaView) -> str:
    """Changes whenever the resource does: everything in it comes from these."""
    return f"{len(view.entries)}.{len(view.violations)}.{int(view.stuck)}"


def saga_resource(
    saga_id: str, view: SagaView, plan: Plan, *, staff: bool, events: bool
) -> ListedSaga:
    """The whole resource (a ``Saga``), or without its ``events``, as lists show it."""
    picture = look(view.entries, plan)
    timeline = in_order(view.entries)
    started, finished = picture.started_at, picture.finished_at
    duration_ms = None
    if started is not None and finished is not None:
        duration_ms = max(round((finished - started) * 1000), 0)
    resource: ListedSaga = {
        "saga_id": saga_id,
        "type": plan.name,
        "status": view.status.value,
        "stuck": view.stuck,
        "started_at": _moment(started),
        "updated_at": rfc3339(picture.updated_at),
        "finished_at": _moment(finished),
        "duration_ms": duration_ms,
        "steps": [_step(place, picture) for place in range(len(plan.steps))],
        "remaining": _remaining(picture),
        "failure": failure_of(timeline, picture),
        "violations": list(view.violations),
    }
    if not events:
        return resource
    shown = [event_resource(entry, staff=staff) for entry in timeline]
    return Saga(**resource, events=shown)


def event_resource(entry: Entry, *, staff: bool) -> SagaEvent:
    """One element of ``events``."""
    said = orjson.loads(entry.data)
    if not staff:
        said.update(dict.fromkeys(_STAFF_ONLY.get(entry.type, ()), REDACTED))
    return {
        "event_id": entry.id,
        "type": entry.type,
        "participant": entry.participant,
        "occurred_at": rfc3339(entry.time),
        "causation_id": entry.causation_id,
        "data": said,
    }


def _step(place: int, picture: Picture) -> Step:
    plan, step = picture.plan.steps[place], picture.steps[place]
    status = picture.step_status(place)
    reported_at = step.done_at if step.refused_at is None else step.refused_at
    # What a command or a message within its participant triggered begins with its own report.
    started_at = reported_at if step.triggered_at is None else step.triggered_at
    attempts = step.attempts
    if status is StepStatus.SKIPPED:
        started_at, attempts = None, 0
    elif status is StepStatus.PENDING:
        attempts = picture.retries.get(plan.name, 0)
    return {
        "name": plan.name,
        "participant": plan.participant,
        "status": status.value,
        "compensation": plan.compensation,
        "attempts": attempts,
        "started_at": _moment(started_at),
        "finished_at": _moment(reported_at),
    }


def _remaining(picture: Picture) -> list[str]:
    if picture.course is not SagaStatus.RUNNING:
        return []
    return [
        step.name
        for place, step in enumerate(picture.plan.steps)
        if picture.step_status(place) is StepStatus.PENDING
    ]


def _moment(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
