"""The view of one saga, folded from every event that carries its id.

    fold(view | None, message, plan, now) -> view
    review(view, plan, now) -> view        at the moment ``confirm_by``

Plain functions without I/O: the tracker hosts them in a runner, a stream processor may host them in
its own table. The view keeps the redacted events and the few values that lists ask for; everything
else is derived when somebody looks.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ConfigDict

from sagas.envelope import Message, event_type
from sagas.events import ENGINE_EVENTS
from sagas.tracker.conformance import IN_ORDER
from sagas.tracker.picture import SagaStatus, look
from sagas.tracker.plan import Plan
from sagas.tracker.timeline import Entry
from sagas.tracker.violations import Violation

__all__ = ["SagaView", "concerns_a_saga", "confirm_by", "fold", "news", "review"]

_ENGINE = frozenset(event_type(cls) for cls in ENGINE_EVENTS)


class SagaView(BaseModel):
    """What is stored of a saga. ``status`` to ``started_at`` are what lists ask for."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

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
    violations: tuple[Violation, ...] = ()
    #: Events that lack their cause so far, and since when they wait for it here.
    unconfirmed: dict[str, float] = {}


def concerns_a_saga(message: Message) -> bool:
    """Whether to fold ``message``: not what is private to a participant, or of no saga."""
    return bool(message.saga_id) and (message.to is None or message.type in _ENGINE)


def fold(
    view: SagaView | None, message: Message, plan: Plan, now: float, facts: str | None = None
) -> SagaView:
    """The view with ``message`` in it. A repeat changes nothing, and no order matters.

    ``facts`` are given where ``message`` is redacted, and they cannot be read from it any more.
    """
    known = () if view is None else view.entries
    for entry in known:
        if entry.id == message.id:
            assert view is not None
            return view
    entries = (*known, _entry(message, plan, facts))
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
    view = view or SagaView()
    changes |= _judged(view, entries, plan, now, started=picture.started_at is not None)
    if message.type in plan.owned_types and (
        view.owner_known_at is None or message.time < view.owner_known_at
    ):
        changes["owner"], changes["owner_known_at"] = _owner(message, plan), message.time
    return view.model_copy(update=changes)


def _judged(
    view: SagaView, entries: tuple[Entry, ...], plan: Plan, now: float, *, started: bool
) -> dict[str, Any]:
    """What is wrong with all ``entries``; ``view`` knows it of all but the last."""
    if not started:
        return {}  # of another choreography, perhaps: nobody is shown a saga
    doubted = bool(view.violations or view.unconfirmed)
    judged_before = view.started_at is not None or not view.entries
    found = plan.judge(entries, judged_before and not doubted)
    if found is IN_ORDER and not doubted:
        return {}
    ids = [each["event"]["event_id"] for each in found.unconfirmed]
    since = {id_: view.unconfirmed.get(id_, now) for id_ in ids}
    overdue = (
        each
        for id_, each in zip(ids, found.unconfirmed, strict=True)
        if since[id_] + plan.cause_wait_s <= now
    )
    return {"violations": (*found.impossible, *overdue), "unconfirmed": since}


def confirm_by(view: SagaView, plan: Plan, now: float) -> float | None:
    """When the next unconfirmed event has waited too long for its cause."""
    moments = (since + plan.cause_wait_s for since in view.unconfirmed.values())
    return min((moment for moment in moments if moment > now), default=None)


def review(view: SagaView, plan: Plan, now: float) -> SagaView:
    """The view with what has waited too long for its cause by ``now``."""
    if not view.unconfirmed:
        return view
    started = view.started_at is not None
    return view.model_copy(update=_judged(view, view.entries, plan, now, started=started))


def news(before: SagaView | None, after: SagaView) -> list[Violation]:
    """The violations of ``after`` that were not known before."""
    known = set() if before is None else {_identity(each) for each in before.violations}
    return [each for each in after.violations if _identity(each) not in known]


def _identity(found: Violation) -> tuple[str, str]:
    return (found["code"], found["event"]["event_id"])


def _entry(message: Message, plan: Plan, facts: str | None) -> Entry:
    return Entry(
        message.id,
        message.type,
        message.source.removeprefix("/"),
        message.time,
        message.causation_id,
        message.attempt,
        message.sequence,
        plan.redaction.text(message),
        plan.read_facts(message) if facts is None else facts,
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
