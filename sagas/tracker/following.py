"""The tracker's participant: hears every event, keeps one view per saga, and knows what is late."""

from __future__ import annotations

from typing import Any, ClassVar, Never

from sagas.decision import Context, Decision, Refusal
from sagas.envelope import Command, Message
from sagas.events import CancelRequested
from sagas.participant import Kind, Participant
from sagas.tracker.picture import look
from sagas.tracker.plan import Plan
from sagas.tracker.view import SagaView, concerns_a_saga, fold

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
        indexes=(("started_at",), ("status", "started_at"), ("stuck", "started_at")),
    )

    def route(message: Message) -> tuple[Kind[Any], str] | None:
        if not concerns_a_saga(message):
            return None
        return tracker.saga, message.saga_id or ""

    @tracker.hears_everything(route=route)
    def hear(
        message: Message, view: SagaView | None, context: Context
    ) -> Decision[SagaView, Never]:
        return _armed(fold(view, message, plan, context.now), context.now)

    @tracker.timer("stuck")
    def notice_what_is_late(view: SagaView, context: Context) -> Decision[SagaView, Never]:
        late = view.late_at is not None and view.late_at <= context.now + TOLERANCE_S
        return _armed(view.model_copy(update={"stuck": late, "armed": None}), context.now)

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


def _armed(view: SagaView, now: float) -> Decision[SagaView, Never]:
    """The decision that keeps the timer right while writing it as seldom as possible.

    A timer that is set for too early a moment is left alone: most sagas end before it fires, and if
    not it only looks and sets itself again. What is marked as stuck waits for an event.
    """
    wanted = None if view.stuck else view.late_at
    if wanted is None:
        if view.armed is None:
            return Decision(view)
        return Decision(view.model_copy(update={"armed": None}), timers={"stuck": None})
    if view.armed is not None and view.armed <= wanted:
        return Decision(view)
    view = view.model_copy(update={"armed": wanted})
    return Decision(view, timers={"stuck": wanted - now})
