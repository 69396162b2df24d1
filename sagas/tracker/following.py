"""The tracker's participant: hears every event, keeps one view per saga, and knows what is late."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from sagas.decision import Context, Decision, Note, Refusal
from sagas.envelope import Command, Message
from sagas.events import CancelRequested
from sagas.kind import Kind
from sagas.participant import Participant
from sagas.tracker.picture import look
from sagas.tracker.plan import Plan
from sagas.tracker.view import SagaView, concerns_a_saga, confirm_by, fold, news, review
from sagas.tracker.violations import line

__all__ = ["CancelSaga", "tracker_of"]

#: Clocks are floats: a timer that fires a hair early must still find what it was set for.
TOLERANCE_S = 0.001


class CancelSaga(Command):
    """An operator wants a saga cancelled."""

    origin: ClassVar[str] = "POST /api/sagas/{saga_id}/cancel"
    by: str
    reason: str


def tracker_of(plan: Plan) -> Participant[SagaView]:
    """The participant that follows every saga of one choreography."""
    tracker = Participant(
        "tracker",
        state=SagaView,
        collection="sagas",
        fields=lambda view: {
            "status": view.status.value,
            "stuck": view.stuck,
            "owner": view.owner,
            "started_at": view.started_at,
        },
        names=("status", "stuck", "owner", "started_at"),
        # Lists are sorted by start, so it completes each.
        indexes=(
            ("started_at",),
            ("status", "started_at"),
            ("stuck", "started_at"),
            ("owner", "started_at"),
        ),
    )

    def route(message: Message) -> tuple[Kind[Any], str] | None:
        if not concerns_a_saga(message):
            return None
        return tracker.saga, message.saga_id or ""

    @tracker.hears_everything(route=route)
    def hear(
        message: Message, view: SagaView | None, context: Context
    ) -> Decision[SagaView, Never]:
        return _decided(view, fold(view, message, plan, context.now), plan, context)

    @tracker.timer("stuck")
    def notice_what_is_late(view: SagaView, context: Context) -> Decision[SagaView, Never]:
        now = context.now + TOLERANCE_S
        late = view.late_at is not None and view.late_at <= now
        seen = review(view, plan, now).model_copy(update={"stuck": late, "armed": None})
        return _decided(view, seen, plan, context)

    @tracker.command(CancelSaga, emits=[CancelRequested])
    def cancel_saga(
        command: CancelSaga, view: SagaView | None
    ) -> Decision[SagaView, CancelRequested] | Refusal:
        if view is None or view.started_at is None:
            return Refusal("not_found", "There is no such saga.")
        if view.ended or look(view.entries, plan).past_the_pivot:
            return Refusal("too_late_to_cancel", f"The saga is {view.status.value}.")
        return Decision(view, CancelRequested(by=command.by, reason=command.reason))

    return tracker


def _decided(
    before: SagaView | None, view: SagaView, plan: Plan, context: Context
) -> Decision[SagaView, Never]:
    """The decision that tells what is new, and keeps the timer right.

    The timer is written as seldom as possible: one that is set for too early a moment is left
    alone. Most sagas end before it fires, and if not it only looks and sets itself again. What is
    marked as stuck waits for an event.
    """
    notes = []
    if view.violations:
        saga_id = context.key
        notes = [Note(each["code"], line(saga_id, each)) for each in news(before, view)]
    wanted = None if view.stuck else view.late_at
    if view.unconfirmed:
        doubt = confirm_by(view, plan, context.now + TOLERANCE_S)
        wanted = min((each for each in (wanted, doubt) if each is not None), default=None)
    if wanted is None:
        if view.armed is None:
            return Decision(view, notes=notes)
        return Decision(
            view.model_copy(update={"armed": None}), timers={"stuck": None}, notes=notes
        )
    if view.armed is not None and view.armed <= wanted:
        return Decision(view, notes=notes)
    view = view.model_copy(update={"armed": wanted})
    return Decision(view, timers={"stuck": wanted - context.now}, notes=notes)
