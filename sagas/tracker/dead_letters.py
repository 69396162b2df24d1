"""The dead letters of all participants, as a projection of the engine's own events.

A participant of its own beside the tracker: its documents are keyed by dead letter, not by saga,
and those of no saga belong here too. The letters themselves stay where they hold their saga back;
an operator's wish travels there as an event addressed to that participant.
"""

from __future__ import annotations

from typing import Any, ClassVar, Never, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict

from sagas.decision import Decision, Refusal
from sagas.envelope import Command, Message, decode, rfc3339
from sagas.errors import Permanent
from sagas.events import DeadLettered, DeadLetterResolved, DiscardRequested, ReplayRequested
from sagas.participant import Participant
from sagas.tracker.redaction import Redaction, scrubbed
from sagas.tracker.shapes import DeadLetter

__all__ = [
    "Action",
    "DeadLetterView",
    "DiscardDeadLetter",
    "ReplayDeadLetter",
    "dead_letter_resource",
    "dead_letters_of",
]

R = TypeVar("R", ReplayRequested, DiscardRequested)

#: A stack says most at its end; a runaway recursion's would fill the document.
MAX_STACK = 16_000


class Action(BaseModel):
    """Who did what to a dead letter, when and why."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    action: str
    by: str
    reason: str
    at: float


class DeadLetterView(BaseModel):
    """What is stored of a dead letter: redacted before it gets here."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    participant: str
    saga_id: str | None = None
    #: Where the letter lies.
    collection: str = ""
    key: str = ""
    message_id: str = ""
    type: str = ""
    cause: str = ""
    detail: str = ""
    stack: str = ""
    #: ``None``: only its resolution was heard so far.
    occurred_at: float | None = None
    #: The message's data as JSON; ``None`` when it was not even an object.
    content: str | None = None
    #: "replayed" or "discarded".
    outcome: str | None = None
    actions: tuple[Action, ...] = ()

    @property
    def status(self) -> str:
        return self.outcome or "open"

    def after(self, action: Action, **changes: object) -> DeadLetterView:
        """With one more action, in the order of their times."""
        actions = sorted((*self.actions, action), key=lambda each: each.at)
        return self.model_copy(update={"actions": tuple(actions), **changes})


class ReplayDeadLetter(Command):
    """An operator wants it processed again."""

    origin: ClassVar[str] = "POST /api/dead-letters/{id}/replay"
    by: str
    reason: str


class DiscardDeadLetter(Command):
    """An operator gives it up."""

    origin: ClassVar[str] = "DELETE /api/dead-letters/{id}"
    by: str
    reason: str


def dead_letters_of(redaction: Redaction) -> Participant[DeadLetterView]:
    """The participant that keeps the list."""
    letters = Participant(
        "dead-letters",
        state=DeadLetterView,
        collection="dead_letters",
        key=lambda event: event.dead_letter_id,
        fields=lambda letter: {
            "participant": letter.participant,
            "cause": letter.cause,
            "status": letter.status,
            "occurred_at": letter.occurred_at,
        },
        names=("participant", "cause", "status", "occurred_at"),
        indexes=(("occurred_at",), ("status", "occurred_at")),
    )

    @letters.follows(DeadLettered)
    def enter(
        event: DeadLettered, letter: DeadLetterView | None, message: Message
    ) -> Decision[DeadLetterView, Never]:
        known = letter or DeadLetterView(participant=event.participant)
        return Decision(known.model_copy(update=_described(event, message, redaction)))

    @letters.follows(DeadLetterResolved)
    def resolve(
        event: DeadLetterResolved, letter: DeadLetterView | None, message: Message
    ) -> Decision[DeadLetterView, Never]:
        known = letter or DeadLetterView(participant=event.participant)
        action = Action(action=event.outcome, by=event.by, reason=event.reason, at=message.time)
        return Decision(known.after(action, outcome=event.outcome))

    _declare_actions(letters)
    return letters


def _declare_actions(letters: Participant[DeadLetterView]) -> None:
    @letters.command(ReplayDeadLetter, emits=[ReplayRequested])
    def replay(
        command: ReplayDeadLetter, letter: DeadLetterView | None, message: Message
    ) -> Decision[DeadLetterView, ReplayRequested] | Refusal:
        return _asked("replay_requested", ReplayRequested, command, letter, message)

    @letters.command(DiscardDeadLetter, emits=[DiscardRequested])
    def discard(
        command: DiscardDeadLetter, letter: DeadLetterView | None, message: Message
    ) -> Decision[DeadLetterView, DiscardRequested] | Refusal:
        return _asked("discard_requested", DiscardRequested, command, letter, message)


def _asked(
    action: str,
    request: type[R],
    command: ReplayDeadLetter | DiscardDeadLetter,
    letter: DeadLetterView | None,
    message: Message,
) -> Decision[DeadLetterView, R] | Refusal:
    """Record the operator's action, and send it to the participant that holds the letter."""
    if letter is None or letter.occurred_at is None:
        return Refusal("not_found", "There is no such dead letter.")
    if letter.outcome is not None:
        return Refusal("already_resolved", f"The dead letter was {letter.outcome} already.")
    taken = Action(action=action, by=command.by, reason=command.reason, at=message.time)
    event = request(
        dead_letter_id=message.subject,
        participant=letter.participant,
        collection=letter.collection,
        key=letter.key,
        by=command.by,
        reason=command.reason,
    )
    return Decision(letter.after(taken), event)


def _described(event: DeadLettered, message: Message, redaction: Redaction) -> dict[str, Any]:
    """What the record shows of the event: neither message nor error may tell what is secret."""
    try:
        held = decode(event.message.encode())
        said: object = orjson.loads(held.data)
    except (Permanent, orjson.JSONDecodeError):
        said = None
    removed: set[str] = set()
    content = redaction.value(event.message_type, said, removed)
    return {
        "participant": event.participant,
        "saga_id": message.saga_id,
        "collection": event.collection,
        "key": event.key,
        "message_id": event.message_id,
        "type": event.message_type,
        "cause": event.cause,
        "detail": scrubbed(event.detail, removed),
        "stack": scrubbed(event.stack, removed)[-MAX_STACK:],
        "occurred_at": message.time,
        "content": orjson.dumps(content).decode() if isinstance(said, dict) else None,
    }


def dead_letter_resource(dead_letter_id: str, letter: DeadLetterView) -> DeadLetter:
    """A dead letter as operators read it."""
    return {
        "dead_letter_id": dead_letter_id,
        "saga_id": letter.saga_id,
        "participant": letter.participant,
        "message_id": letter.message_id,
        "type": letter.type,
        "cause": letter.cause,
        "detail": letter.detail,
        "stack": letter.stack,
        "status": letter.status,
        "occurred_at": rfc3339(letter.occurred_at or 0.0),
        "data": None if letter.content is None else orjson.loads(letter.content),
        "actions": [
            {
                "action": action.action,
                "by": action.by,
                "reason": action.reason,
                "at": rfc3339(action.at),
            }
            for action in letter.actions
        ],
    }
