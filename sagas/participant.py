"""How a participant declares its reactions: steps, their undo, what it follows, commands, timers.

Everything else (runtime, diagram, check, simulation, live view) is derived from these declarations,
so each is verified when the module is imported: a wrong one raises ``DeclarationError`` with the
participant, the reaction, the file and the line.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import FrameType, UnionType
from typing import (
    Any,
    Generic,
    Literal,
    Never,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import BaseModel

from sagas.decision import Context, Decision, Refusal
from sagas.envelope import Message, event_type
from sagas.errors import DeclarationError
from sagas.ports import Collection, Scalar

__all__ = ["Kind", "Participant", "Reaction", "ReactionKind", "RetryPolicy", "Step"]

S = TypeVar("S", bound=BaseModel)
A = TypeVar("A", bound=BaseModel)
F = TypeVar("F", bound=Callable[..., Any])
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
    def takes_state(self) -> bool:
        """Whether the function looks at the document's state, be it there or not."""
        return any(how == "state" for _, how in self.parameters)

    def resources(self) -> list[type]:
        """The types of what this reaction must be given from outside."""
        return [how for _, how in self.parameters if isinstance(how, type)]


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
        self.dedupe = dedupe
        self.fields = fields
        self.collection = collection
        self.reactions: dict[Trigger, Reaction] = {}
        self.timers: dict[str, Reaction] = {}

    @property
    def by_saga(self) -> bool:
        """Whether documents are keyed by the id of their saga."""
        return self.key is None

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
        hints = self._hints(function)
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
        )
        self._bind_parameters(reaction, hints)
        self._verify_emissions(reaction, hints.get("return"))
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

    def _hints(self, function: Callable[..., Any]) -> dict[str, Any]:
        frame: FrameType | None = sys._getframe(1)
        local: dict[str, Any] = {}
        while frame is not None and frame.f_globals.get("__name__") == __name__:
            frame = frame.f_back
        if frame is not None:
            local = dict(frame.f_locals)  # declared inside a function: a test, say
        try:
            return get_type_hints(function, localns=local)
        except NameError as error:
            raise self._wrong(function, f"its annotations cannot be read: {error}") from error

    def _bind_parameters(self, reaction: Reaction, hints: Mapping[str, Any]) -> None:
        bound: list[tuple[str, Any]] = []
        for name in inspect.signature(reaction.function).parameters:
            if name not in hints:
                raise self._wrong(reaction.function, f"parameter {name!r} has no type annotation")
            wanted = set(_members(hints[name]))
            plain = wanted - {type(None)}
            if plain == {self.state}:
                bound.append((name, "state"))
                reaction.needs_state = type(None) not in wanted
            elif plain == {Context}:
                bound.append((name, "context"))
            elif plain == {Message}:
                bound.append((name, "message"))
            elif plain and plain <= set(reaction.triggers) | {BaseModel}:
                missing = set(reaction.triggers) - plain
                if missing and BaseModel not in plain:
                    raise self._wrong(
                        reaction.function,
                        f"parameter {name!r} does not take {_names(missing)}, which trigger it",
                    )
                bound.append((name, "event"))
            elif len(plain) == 1 and isinstance(next(iter(plain)), type):
                resource = next(iter(plain))
                if isinstance(resource, type) and issubclass(resource, BaseModel):
                    raise self._wrong(
                        reaction.function,
                        f"parameter {name!r} is a {resource.__name__}, which is neither its "
                        f"trigger nor the state {self.state.__name__}",
                    )
                bound.append((name, resource))
            else:
                raise self._wrong(reaction.function, f"parameter {name!r} has an unclear type")
        reaction.parameters = tuple(bound)

    def _verify_emissions(self, reaction: Reaction, returns: Any) -> None:
        declared = set(reaction.emits) | set(reaction.refuses)
        reaction.emission_types = frozenset(declared)
        seen: set[Trigger] = set()
        for member in _members(returns):
            if get_origin(member) is Decision:
                seen.update(_members(get_args(member)[1]))
            elif member not in (Refusal, type(None)):
                raise self._wrong(
                    reaction.function,
                    "annotate what it returns as `Decision[State, EventA | EventB]` "
                    "(`Never` when it emits nothing)",
                )
        seen -= {Never, type(None)}
        if undeclared := seen - declared:
            raise self._wrong(
                reaction.function,
                f"it may return {_names(undeclared)}, which it does not declare; add to `emits`",
            )


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


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint itself."""
    if hint is None:
        return (type(None),)
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _names(classes: set[Trigger]) -> str:
    return ", ".join(sorted(event_type(cls) for cls in classes))
