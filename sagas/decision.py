"""What a reaction is given and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel

from sagas.envelope import Message

__all__ = ["Context", "Decision", "Note", "Refusal"]

S_co = TypeVar("S_co", bound="BaseModel | None", covariant=True)
E_co = TypeVar("E_co", bound=BaseModel, covariant=True)


@dataclass(frozen=True, slots=True)
class Context:
    """Where and when a reaction runs. Same state, event and context: same decision.

    ``key`` is the aggregate's key, ``now`` seconds since the epoch, ``attempt`` the number of this
    try (1 is the first).
    """

    key: str
    saga_id: str | None
    now: float
    attempt: int
    message: Message
    #: Where this document's steps stand, by name: ``done``, ``refused``, ``undone``, ``tombstone``.
    steps: Mapping[str, str] = field(default_factory=dict)

    @property
    def caused_by(self) -> str:
        """The id of the message that started this: an idempotency key for its effects."""
        return self.message.id


class Note(NamedTuple):
    """A line for the log, once what it is about is written; counted under ``code``."""

    code: str
    text: str


class Decision(Generic[S_co, E_co]):
    """The new state, what happened, and which timers to set.

    ``state`` ``None``: there is still none. ``timers``: name → seconds from now (``None`` voids).
    ``attention``: a sentence for people; puts the saga in ``attention``. ``reply``: handed to the
    caller of a command; not stored. ``notes``: logged and counted when this is written.
    """

    __slots__ = ("attention", "events", "notes", "reply", "state", "timers")

    def __init__(
        self,
        state: S_co,
        *events: E_co,
        timers: Mapping[str, float | None] | None = None,
        attention: str | None = None,
        reply: Any = None,
        notes: Sequence[Note] = (),
    ) -> None:
        self.state = state
        self.events = events
        self.timers = timers
        self.attention = attention
        self.reply = reply
        self.notes = notes


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command declined: nothing is written; the caller gets ``CommandRefused``."""

    code: str
    detail: str
