"""The view of one saga, folded from every event that carries its id.

    fold(view | None, message, plan, now) -> view

A plain function without I/O: the tracker hosts it in a runner, a stream processor may host it in
its own table. The view keeps the redacted events and the few values that lists ask for; everything
else is derived when somebody looks.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from sagas.envelope import Message, event_type
from sagas.events import ENGINE_EVENTS
from sagas.tracker.picture import SagaStatus, look
from sagas.tracker.plan import Plan
from sagas.tracker.timeline import Entry

__all__ = ["SagaView", "concerns_a_saga", "fold"]

_ENGINE = frozenset(event_type(cls) for cls in ENGINE_EVENTS)


class SagaView(BaseModel):
    """What is stored of a saga. ``status`` to ``started_at`` are what lists ask for."""

    model_config = ConfigDict(frozen=True)

    status: SagaStatus = SagaStatus.RUNNING
    #: Some step, or undo, is overdue.
    stuck: bool = False
    owner: str | None = None
    #: ``None``: only events beside the flow were heard, nobody is shown a saga yet.
    started_at: float | None = None
    #: It has come to its end, whether or not a person is needed all the same.
    ended: bool = False
    #: When a step will be overdue, as far as known; the timer is set to ``armed``, or earlier.
    late_at: float | None = None
    armed: float | None = None
    owner_known_at: float | None = None
    #: In their order of arrival, which is that of the live stream.
    entries: tuple[Entry, ...] = ()
    violations: tuple[dict[str, Any], ...] = ()


def concerns_a_saga(message: Message) -> bool:
    """Whether to fold ``message``: not what is private to a participant, or of no saga."""
    return bool(message.saga_id) and (message.to is None or message.type in _ENGINE)


def fold(view: SagaView | None, message: Message, plan: Plan, now: float) -> SagaView:
    """The view with ``message`` in it. A repeat changes nothing, and no order matters."""
    known = () if view is None else view.entries
    for entry in known:
        if entry.id == message.id:
            assert view is not None
            return view
    entries = (*known, _entry(message, plan))
    picture = look(entries, plan)
    late_at = picture.late_at
    changes = {
        "status": picture.status,
        "stuck": late_at is not None and late_at <= now,
        "started_at": picture.started_at,
        "ended": picture.ended,
        "late_at": late_at,
        "entries": entries,
    }
    if plan.judge is not None:
        changes["violations"] = plan.judge(entries)
    view = view or SagaView()
    if message.type in plan.owned_types and (
        view.owner_known_at is None or message.time < view.owner_known_at
    ):
        changes["owner"], changes["owner_known_at"] = _owner(message, plan), message.time
    return view.model_copy(update=changes)


def _entry(message: Message, plan: Plan) -> Entry:
    return Entry(
        message.id,
        message.type,
        message.source.removeprefix("/"),
        message.time,
        message.causation_id,
        message.attempt,
        message.sequence,
        plan.redaction.text(message),
    )


def _owner(message: Message, plan: Plan) -> str | None:
    """Whose saga it is. The field itself may be hidden from the timeline, hence the raw event."""
    assert plan.owner is not None
    if message.event is not None:
        owner = getattr(message.event, plan.owner, None)
    else:
        said = orjson.loads(message.data)
        owner = said.get(plan.owner) if isinstance(said, dict) else None
    return owner if isinstance(owner, str) else None
