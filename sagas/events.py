"""The engine's own events. They travel through the same outboxes as everybody's.

``Step…``, ``Attention…`` and ``DeadLetter…`` say what happened inside a participant; the
``…Requested`` ones carry an operator's action, recorded with who and why.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import AwareDatetime, BaseModel

from sagas.envelope import Event, event_type

__all__ = [
    "ENGINE_EVENTS",
    "AttentionNeeded",
    "AttentionResolved",
    "CancelRequested",
    "DeadLetterResolved",
    "DeadLettered",
    "DiscardRequested",
    "ReplayRequested",
    "StepRetrying",
    "origin",
]


class StepRetrying(Event):
    """A step failed for now and is tried again when it is ``due`` (earlier releases told seconds
    since the epoch, which are read as well).
    """

    participant: str
    step: str
    attempt: int
    due: AwareDatetime
    reason: str


class AttentionNeeded(Event):
    """A person is needed. Nothing is lost; tries go on where there is something to try."""

    participant: str
    step: str
    code: str
    detail: str


class AttentionResolved(Event):
    """What needed a person is settled."""

    participant: str
    step: str


class DeadLettered(Event):
    """A message cannot be processed: it holds this saga at this participant until resolved."""

    dead_letter_id: str
    participant: str
    #: The document that it is stored in.
    collection: str
    key: str
    message_id: str
    message_type: str
    cause: str
    detail: str
    stack: str
    message: str


class DeadLetterResolved(Event):
    """A dead letter was replayed (the hold is released in order) or discarded."""

    dead_letter_id: str
    participant: str
    outcome: str
    by: str
    reason: str


class ReplayRequested(Event):
    """An operator wants a dead letter processed again. Addressed to its participant."""

    dead_letter_id: str
    participant: str
    collection: str
    key: str
    by: str
    reason: str


class DiscardRequested(Event):
    """An operator gives a dead letter up; what it held back goes on. Addressed likewise."""

    dead_letter_id: str
    participant: str
    collection: str
    key: str
    by: str
    reason: str


class CancelRequested(Event):
    """An operator wants a saga cancelled. The choreography decides how, and whether it can be."""

    origin: ClassVar[str | None] = "an operator"

    by: str
    reason: str


ENGINE_EVENTS = (
    StepRetrying,
    AttentionNeeded,
    AttentionResolved,
    DeadLettered,
    DeadLetterResolved,
    ReplayRequested,
    DiscardRequested,
    CancelRequested,
)

_TYPES = frozenset(event_type(cls) for cls in ENGINE_EVENTS)


def origin(cls: type[BaseModel]) -> str | None:
    """Who sends an event or command that comes from outside of a choreography's participants."""
    declared = getattr(cls, "origin", None)
    if declared is not None:
        return str(declared)
    return "the engine" if event_type(cls) in _TYPES else None
