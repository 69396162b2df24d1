"""One declared reaction, and the policy by which it is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from sagas.kind import Kind, Step

__all__ = ["Reaction", "ReactionKind", "RetryPolicy", "Trigger"]

Trigger = type[BaseModel]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounded exponential backoff with jitter, and a time limit for each try.

    Waits: ``first_s * factor ** n`` up to ``cap_s``, each lengthened by up to ``jitter`` of itself.
    After ``attempts`` tries the reaction's ``spent`` decides, or the saga goes to ``attention``
    while tries go on every ``cap_s``: nothing is ever dropped.
    """

    attempts: int = 6
    first_s: float = 0.2
    factor: float = 2.0
    cap_s: float = 60.0
    jitter: float = 0.25
    time_limit_s: float = 10.0

    def wait_s(self, attempt: int, random: float) -> float:
        """How long to wait after try number ``attempt`` (1 is the first) has failed."""
        plain = min(self.first_s * self.factor ** min(attempt - 1, 30), self.cap_s)
        return plain * (1 + self.jitter * random)

    @property
    def longest_s(self) -> float:
        """The most that all tries and the waits between them can take together."""
        waits = sum(self.wait_s(n, 1.0) for n in range(1, self.attempts))
        return waits + self.attempts * self.time_limit_s


class ReactionKind(Enum):
    STEP = "step"
    UNDO = "undo"
    FOLLOW = "follow"
    COMMAND = "command"
    TIMER = "timer"


@dataclass(eq=False, slots=True)
class Reaction:
    """One declared reaction: what starts it, what it may emit, and the function that decides."""

    kind: Kind[Any]
    role: ReactionKind
    name: str
    function: Callable[..., Any]
    triggers: tuple[Trigger, ...]
    emits: tuple[Trigger, ...]
    refuses: tuple[Trigger, ...]
    retry: RetryPolicy
    is_async: bool
    #: How to fill each parameter: "event", "state", "context", "message" or the type of a resource.
    parameters: tuple[tuple[str, Any], ...]
    needs_state: bool
    #: For an undo: the step that it undoes. For a step: itself.
    step: Step[Any] | None = None
    spent: Reaction | None = None
    timer: str | None = None
    emission_types: frozenset[Trigger] = frozenset()

    @property
    def where(self) -> str:
        code = self.function.__code__
        return (
            f"{self.kind.participant.name}.{self.name} ({code.co_filename}:{code.co_firstlineno})"
        )

    @property
    def may_refuse(self) -> tuple[Trigger, ...]:
        """The events of which one leaves when it says no, its spent retries included."""
        spent = () if self.spent is None else self.spent.refuses
        return tuple(dict.fromkeys((*self.refuses, *spent)))

    @property
    def says(self) -> tuple[Trigger, ...]:
        """Every event that it may emit, refusals included."""
        return tuple(dict.fromkeys((*self.emits, *self.may_refuse)))

    @property
    def takes_state(self) -> bool:
        """Whether the function looks at the document's state, be it there or not."""
        return any(how == "state" for _, how in self.parameters)

    def resources(self) -> list[type]:
        """The types of what this reaction must be given from outside."""
        return [how for _, how in self.parameters if isinstance(how, type)]
