"""One kind of document of a participant: what is declared on it, verified as it is declared.

A wrong declaration raises ``DeclarationError`` when its module is imported, with the participant,
the reaction, the file and the line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from sagas.annotations import (
    Unclear,
    bind_parameters,
    insists_on_state,
    read_hints,
    verify_emissions,
)
from sagas.envelope import event_type
from sagas.errors import DeclarationError
from sagas.ports import Collection, Scalar
from sagas.reaction import Reaction, ReactionKind, RetryPolicy, Trigger

if TYPE_CHECKING:
    from sagas.participant import Participant

__all__ = ["Kind", "Step"]

S = TypeVar("S", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])


class Step(Generic[S]):
    """A declared step. ``undone`` declares its undo beside it, ``spent`` what ends its retries."""

    def __init__(
        self,
        reaction: Reaction,
        *,
        pivot: bool,
        deadline_s: float,
        kept_on: tuple[Trigger, ...],
    ) -> None:
        self.reaction = reaction
        self.name = reaction.name
        self.kind: Kind[S] = reaction.kind
        self.pivot = pivot
        self.deadline_s = deadline_s
        self.kept_on = kept_on
        self.undo: Reaction | None = None

    def undone(
        self,
        *,
        on: Trigger | Sequence[Trigger],
        emits: Sequence[Trigger] = (),
        refuses: Sequence[Trigger] = (),
        retry: RetryPolicy | None = None,
    ) -> Callable[[F], F]:
        """Declare the undo of this step.

        It takes ``State | None``: the undo may arrive before its step, whose effect may have
        happened all the same, so it calls the port's inverse by key even then. ``refuses`` is what
        it may answer when the step cannot be undone any more.
        """

        def declare(function: F) -> F:
            if self.undo is not None:
                raise self.kind._wrong(function, f"{self.name} has an undo already")
            if self.pivot:
                raise self.kind._wrong(function, f"{self.name} is the pivot: it has no undo")
            reaction = self.kind._declare(
                ReactionKind.UNDO, function, on, emits, refuses, retry, step=self
            )
            if reaction.needs_state:
                raise self.kind._wrong(
                    function, "an undo takes `State | None`: it may come before its step"
                )
            self.undo = reaction
            return function

        return declare

    def spent(self, *, refuses: Sequence[Trigger]) -> Callable[[F], F]:
        """Declare what a step does when its retries are spent: void the effect, then refuse."""

        def declare(function: F) -> F:
            self.reaction.spent = self.kind._declare(
                ReactionKind.STEP,
                function,
                self.reaction.triggers,
                (),
                refuses,
                RetryPolicy(),
                step=self,
                listens=False,
            )
            return function

        return declare


class Kind(Generic[S]):
    """One kind of aggregate of a participant: a state model, a key, and reactions on it.

    ``dedupe``: ``inbox`` remembers every message in the document (sagas, short by nature);
    ``sequence`` remembers the highest version of each source (long-lived projections of absolute
    values); ``none`` leaves repeats to the domain (its commands carry keys of their own).
    """

    def __init__(
        self,
        participant: Participant[Any],
        name: str,
        state: type[S],
        *,
        key: Callable[[Any], str] | None,
        dedupe: Literal["inbox", "sequence", "none"],
        fields: Callable[[S], Mapping[str, Scalar]] | None,
        collection: Collection,
    ) -> None:
        self.participant = participant
        self.name = name
        self.state = state
        self.key = key
        #: Whether documents are keyed by the id of their saga.
        self.by_saga = key is None
        self.dedupe = dedupe
        self.fields = fields
        self.collection = collection
        self.reactions: dict[Trigger, Reaction] = {}
        self.timers: dict[str, Reaction] = {}

    def follows(
        self,
        *on: Trigger,
        emits: Sequence[Trigger] = (),
        retry: RetryPolicy | None = None,
    ) -> Callable[[F], F]:
        """React to somebody else's event: a projection, a status, a countermeasure. No undo."""

        def declare(function: F) -> F:
            self._declare(ReactionKind.FOLLOW, function, on, emits, (), retry)
            return function

        return declare

    def command(
        self, command: Trigger, *, emits: Sequence[Trigger] = (), retry: RetryPolicy | None = None
    ) -> Callable[[F], F]:
        """Decide on a command from outside. It may return a ``Refusal``."""

        def declare(function: F) -> F:
            self._declare(ReactionKind.COMMAND, function, command, emits, (), retry)
            return function

        return declare

    def timer(
        self, name: str, *, emits: Sequence[Trigger] = (), retry: RetryPolicy | None = None
    ) -> Callable[[F], F]:
        """Decide when the stored timer ``name`` (set by ``Decision(timers=…)``) is due."""

        def declare(function: F) -> F:
            if name in self.timers:
                raise self._wrong(function, f"timer {name!r} is declared twice")
            reaction = self._declare(ReactionKind.TIMER, function, (), emits, (), retry)
            reaction.timer = name
            self.timers[name] = reaction
            return function

        return declare

    # ------------------------------------------------------------------------------ declaring

    def _wrong(self, function: Callable[..., Any], what: str) -> DeclarationError:
        code = function.__code__
        return DeclarationError(
            f"{code.co_filename}:{code.co_firstlineno}: participant {self.participant.name!r}, "
            f"{function.__name__!r}: {what}"
        )

    def _declare(
        self,
        role: ReactionKind,
        function: Callable[..., Any],
        on: Trigger | Sequence[Trigger],
        emits: Sequence[Trigger],
        refuses: Sequence[Trigger],
        retry: RetryPolicy | None,
        *,
        step: Step[Any] | None = None,
        listens: bool = True,
    ) -> Reaction:
        triggers = (on,) if isinstance(on, type) else tuple(on)
        if not triggers and role is not ReactionKind.TIMER:
            raise self._wrong(function, "it is triggered by nothing; name its event in `on`")
        reaction = Reaction(
            kind=self,
            role=role,
            name=function.__name__,
            function=function,
            triggers=triggers,
            emits=tuple(emits),
            refuses=tuple(refuses),
            retry=retry or RetryPolicy(),
            is_async=inspect.iscoroutinefunction(function),
            parameters=(),
            needs_state=False,
            step=step,
            emission_types=frozenset((*emits, *refuses)),
        )
        try:
            hints = read_hints(function)
            reaction.parameters = bind_parameters(reaction, self.state, hints)
            reaction.needs_state = insists_on_state(self.state, hints)
            verify_emissions(reaction, hints.get("return"))
        except Unclear as error:
            raise self._wrong(function, str(error)) from error
        if listens:
            for trigger in triggers:
                other = self.participant.reaction_to(trigger)
                if other is not None:
                    raise self._wrong(
                        function,
                        f"{event_type(trigger)} triggers {other.name!r} already; one participant "
                        f"has one reaction per trigger",
                    )
                self.reactions[trigger] = reaction
        return reaction
