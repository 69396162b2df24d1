"""How a participant declares its reactions: steps, their undo, what it follows, commands, timers.

Everything else (runtime, diagram, check, simulation, live view) is derived from these declarations,
so each is verified when the module is imported: a wrong one raises ``DeclarationError`` with the
participant, the reaction, the file and the line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from sagas.envelope import Message
from sagas.errors import DeclarationError
from sagas.kind import Kind, Step
from sagas.ports import Collection, Scalar
from sagas.reaction import Reaction, ReactionKind, RetryPolicy, Trigger

__all__ = ["Participant"]

S = TypeVar("S", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])


class _Stray(BaseModel):
    """A message that belongs to no document of its own has no state."""

    model_config = ConfigDict(hide_input_in_errors=True)


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
