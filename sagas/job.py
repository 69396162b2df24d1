"""One thing to do for one document, and the write that a batch of them shares."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from sagas.aggregate import Aggregate
from sagas.decision import Note
from sagas.envelope import Message
from sagas.errors import CommandRefused, SagaError
from sagas.kind import Kind
from sagas.ports import Delivery
from sagas.reaction import Reaction

__all__ = ["WAKE_UP", "Job", "Reply", "Slot", "Work"]

Slot = tuple[str, str]  # collection, key

#: Stands for no message: something is due in the document, which expands into jobs of its own.
WAKE_UP: Final = Message(
    id="", type="wake-up", source="/", subject="", saga_id=None, time=0.0, data=b"null"
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What a command led to. ``repeated``: it had been done before; ``state`` is as it is now."""

    state: Any
    value: Any = None
    repeated: bool = False


@dataclass(slots=True, eq=False)
class Job:
    """A delivery, a command, or something due, on its way through the worker."""

    kind: Kind[Any]
    key: str
    message: Message
    reaction: Reaction | None = None
    event: BaseModel | None = None
    delivery: Delivery | None = None
    future: asyncio.Future[Reply] | None = None
    #: Why it cannot even start (undecodable, unknown here): it becomes a dead letter.
    fault: Exception | None = None
    attempt: int = 1
    #: The document that the running effect was started on, and what the effect came to.
    started_on: Aggregate | None = None
    result: Any = None
    finished: bool = False
    #: An effect ran in an earlier try whose write lost its race.
    effect_ran: bool = False
    #: The spent retries' last word is running instead of the reaction itself.
    spending: bool = False
    #: The tries of the reaction before that.
    spent_after: int = 0
    #: The event of the undo whose inverse runs for this late forward.
    inverse: BaseModel | None = None
    #: The command carries an id of its caller's: its repeats must be known.
    remember: bool = False
    #: Most likely nothing is stored under its key: it is decided without looking, and again with.
    first: bool = False
    #: It wants a document to itself: among several commands one asked for a value that is taken.
    alone: bool = False
    #: The document was read for this job: a refusal may be believed.
    reloaded: bool = False
    #: What its caller hears once the write is done.
    reply: Reply | CommandRefused | None = None

    slot: Slot = field(init=False)

    def __post_init__(self) -> None:
        self.slot = (self.kind.name, self.key)

    def move_to(self, kind: Kind[Any], key: str) -> None:
        """Let it concern another document: a stray stays where it is stored."""
        self.kind, self.key, self.slot = kind, key, (kind.name, key)

    @property
    def was_due(self) -> bool:
        """Whether it comes from the document itself: a timer, a stored retry."""
        return self.delivery is None and self.future is None

    @property
    def is_answered(self) -> bool:
        return self.future is None or self.future.done()

    def fail(self, error: SagaError) -> None:
        """Tell the caller, if there is one who still waits."""
        if self.future is not None and not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waited may be gone: then nobody asks

    def again(self) -> None:
        """Start over on a fresh document; the effect, if any, is repeated by its key."""
        self.effect_ran = self.effect_ran or self.finished
        self.first = False
        self.started_on = self.result = self.reply = self.inverse = None
        self.finished = self.spending = False


@dataclass(slots=True, eq=False)
class Work:
    """All that one commit changes in one document."""

    kind: Kind[Any]
    aggregate: Aggregate
    now: float
    jobs: list[Job] = field(default_factory=list)
    fresh: list[Message] = field(default_factory=list)
    #: For the log, once this is written: nothing is said of what a lost race took back.
    notes: list[Note] = field(default_factory=list)
    dirty: bool = False
