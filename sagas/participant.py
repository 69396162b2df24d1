"""How a participant declares its reactions: steps, their undo, what it follows, commands, timers.

Everything else (runtime, diagram, check, simulation, live view) is derived from these declarations,
so each is verified when the module is imported: a wrong one raises ``DeclarationError`` with the
participant, the reaction, the file and the line.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel

from sagas.annotations import (
    Unclear,
    bind_parameters,
    insists_on_state,
    read_hints,
    verify_emissions,
)
from sagas.envelope import Message, event_type
from sagas.errors import DeclarationError
from sagas.ports import Collection, Scalar
from sagas.reaction import Reaction, ReactionKind, RetryPolicy, Trigger

__all__ = ["Kind", "Participant", "Reaction", "ReactionKind", "RetryPolicy", "Step", "Trigger"]

S = TypeVar("S", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)
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


class _Stray(BaseModel):
    """A message that belongs to no document of its own has no state."""


def _no_key(event: object) -> str:
    raise DeclarationError("strays are keyed by message")


class Participant(Generic[S]):
    """One service's part in a choreography. Its own aggregate is keyed by the saga's id."""

    def __init__(
        self,
        name: str,
        *,
        state: type[S],
        collection: str | None = None,
        fields: Callable[[S], Mapping[str, Scalar]] | None = None,
        names: tuple[str, ...] = (),
        indexes: tuple[tuple[str, ...], ...] = (),
        unique: tuple[str, ...] = (),
        dedupe: Literal["inbox", "sequence", "none"] = "inbox",
        key: Callable[[Any], str] | None = None,
    ) -> None:
        self.name = name
        self.kinds: list[Kind[Any]] = []
        self.steps: dict[str, Step[Any]] = {}
        #: Hears every event, undecoded (trackers, journals).
        self.catch_all: Reaction | None = None
        self.route: Callable[[Message], tuple[Kind[Any], str] | None] = lambda message: None
        #: Where messages of no saga are kept when they become dead letters.
        self.strays: Kind[Any]
        self.saga: Kind[S] = self.aggregate(
            collection or name,
            state,
            key=key,
            dedupe=dedupe,
            fields=fields,
            names=names,
            indexes=indexes,
            unique=unique,
        )
        self.strays = self.aggregate("strays", _Stray, key=_no_key)

    def aggregate(
        self,
        collection: str,
        state: type[A],
        *,
        key: Callable[[Any], str] | None = None,
        dedupe: Literal["inbox", "sequence", "none"] = "none",
        fields: Callable[[A], Mapping[str, Scalar]] | None = None,
        names: tuple[str, ...] = (),
        indexes: tuple[tuple[str, ...], ...] = (),
        unique: tuple[str, ...] = (),
    ) -> Kind[A]:
        """Another kind of document beside the saga's: a projection, a ledger, a cart.

        ``fields`` gives the values that lists query by; ``names``, ``indexes`` and ``unique`` are
        the collection's (see ``Collection``).
        """
        kind = Kind(
            self,
            collection,
            state,
            key=key,
            dedupe=dedupe,
            fields=fields,
            # `present` tells lists which documents have a state and which only remember an undo.
            collection=Collection(collection, ("present", *names), indexes, unique),
        )
        self.kinds.append(kind)
        return kind

    def step(
        self,
        *,
        on: Trigger | Sequence[Trigger],
        emits: Sequence[Trigger] = (),
        refuses: Sequence[Trigger] = (),
        retry: RetryPolicy | None = None,
        deadline_s: float = 30.0,
        pivot: bool = False,
        kept_on: Sequence[Trigger] = (),
    ) -> Callable[[Callable[..., Any]], Step[S]]:
        """Declare a step.

        ``emits``: what it says when done; ``refuses``: when it says no (nothing is left to undo
        then). ``deadline_s``: seconds from its trigger after which the saga counts as stuck.
        ``pivot``: from here on the saga only goes forward. ``kept_on``: events on which what the
        step did is rightly kept although the saga fails.
        """

        def declare(function: Callable[..., Any]) -> Step[S]:
            if not self.saga.by_saga:
                raise self.saga._wrong(
                    function,
                    "its documents have a `key` of their own: what a step did is remembered, and "
                    "undone, in a document for each saga; keep the others as an `aggregate`",
                )
            reaction = self.saga._declare(ReactionKind.STEP, function, on, emits, refuses, retry)
            if reaction.name in self.steps:
                raise self.saga._wrong(function, "another step has this name")
            if pivot and any(step.pivot for step in self.steps.values()):
                raise self.saga._wrong(function, "a participant has at most one pivot")
            step: Step[S] = Step(
                reaction, pivot=pivot, deadline_s=deadline_s, kept_on=tuple(kept_on)
            )
            reaction.step = step
            self.steps[step.name] = step
            return step

        return declare

    def follows(
        self, *on: Trigger, emits: Sequence[Trigger] = (), retry: RetryPolicy | None = None
    ) -> Callable[[F], F]:
        """See ``Kind.follows``; on the saga's own aggregate."""
        return self.saga.follows(*on, emits=emits, retry=retry)

    def command(
        self, command: Trigger, *, emits: Sequence[Trigger] = (), retry: RetryPolicy | None = None
    ) -> Callable[[F], F]:
        """See ``Kind.command``; on the saga's own aggregate."""
        return self.saga.command(command, emits=emits, retry=retry)

    def timer(
        self, name: str, *, emits: Sequence[Trigger] = (), retry: RetryPolicy | None = None
    ) -> Callable[[F], F]:
        """See ``Kind.timer``; on the saga's own aggregate."""
        return self.saga.timer(name, emits=emits, retry=retry)

    def hears_everything(
        self, *, route: Callable[[Message], tuple[Kind[Any], str] | None]
    ) -> Callable[[F], F]:
        """React to every event of every participant, undecoded: ``(Message, State | None)``.

        ``route`` says which document a message concerns; ``None``: it is passed over.
        """

        def declare(function: F) -> F:
            self.catch_all = self.saga._declare(
                ReactionKind.FOLLOW, function, BaseModel, (), (), None, listens=False
            )
            self.route = route
            return function

        return declare

    def reaction_to(self, trigger: Trigger) -> Reaction | None:
        """The one reaction that ``trigger`` starts here, if any."""
        for kind in self.kinds:
            if trigger in kind.reactions:
                return kind.reactions[trigger]
        return None

    def reactions(self) -> list[Reaction]:
        """Every declared reaction, each once, in the order of declaration."""
        found: dict[int, Reaction] = {}
        for kind in self.kinds:
            for reaction in (*kind.reactions.values(), *kind.timers.values()):
                found[id(reaction)] = reaction
        return list(found.values())

    def __repr__(self) -> str:
        return f"<Participant {self.name}>"
