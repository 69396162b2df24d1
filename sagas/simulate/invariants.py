"""What must hold in every world. Each is a plain function that yields what is wrong, in words.

    @invariant
    def rooms_add_up(truth: Truth) -> Iterator[str]:
        if taken(truth) > ROOMS:
            yield "more rooms are taken than there are"

One that takes a saga id as well is asked of each saga. ``always=True``: it holds at every moment,
so it is asked again after each commit that changed anything it looks at.
"""

from __future__ import annotations

import inspect
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, overload

from sagas.aggregate import Aggregate, StepStatus
from sagas.envelope import Message, event_type
from sagas.flow import Choreography
from sagas.simulate.truth import TRACKER, Place, Truth
from sagas.tracker import SagaStatus

__all__ = ["EVERYWHERE", "Invariant", "Standing", "invariant"]

Check = Callable[[Truth], Iterator[str]]
SagaCheck = Callable[[Truth, str], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Invariant:
    """``check`` yields problems; none means that it holds."""

    check: Check | SagaCheck
    always: bool = False

    @property
    def name(self) -> str:
        return getattr(self.check, "__name__", type(self.check).__name__)

    @property
    def of_each_saga(self) -> bool:
        """Whether it is asked of one saga at a time: its function takes a saga id, too."""
        return _takes_a_saga(self.check)

    def problems(self, truth: Truth) -> list[str]:
        """Everything that is wrong."""
        if not self.of_each_saga:
            return self.asked(truth)
        return [problem for each in truth.saga_ids for problem in self.asked(truth, each)]

    def asked(self, *about: Any) -> list[str]:
        """What it says of ``(truth)``, or ``(truth, saga_id)``."""
        try:
            return [f"{self.name}: {problem}" for problem in self.check(*about)]
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{last.filename}:{last.lineno}"
            return [f"{self.name}: the invariant itself failed: {error!r} at {where}"]


@cache
def _takes_a_saga(check: Check | SagaCheck) -> bool:
    return len(inspect.signature(check).parameters) > 1


@overload
def invariant(check: Check | SagaCheck) -> Invariant: ...
@overload
def invariant(*, always: bool) -> Callable[[Check | SagaCheck], Invariant]: ...
def invariant(
    check: Check | SagaCheck | None = None, *, always: bool = False
) -> Invariant | Callable[[Check | SagaCheck], Invariant]:
    """Make an invariant of a function: ``(truth)``, or ``(truth, saga_id)`` of each saga."""
    if check is None:
        return lambda each: Invariant(each, always)
    return Invariant(check)


class _Question:
    """An invariant, asked of one saga or all in all, and every place that it ever looked at."""

    __slots__ = ("about", "invariant", "looked", "places")

    def __init__(self, invariant: Invariant, about: tuple[Any, ...]) -> None:
        self.invariant = invariant
        self.about = about
        self.places: set[Place] = set()
        #: What it looked at when it was last asked, and before.
        self.looked: set[Place] = set()


class Standing:
    """The invariants that hold always, each asked again when something that it looked at changed.

    So an invariant's answer must depend on the truth alone.
    """

    def __init__(self, truth: Truth, invariants: Iterable[Invariant]) -> None:
        self._truth = truth
        self._new: list[_Question] = []
        for each in invariants:
            sagas = [(saga_id,) for saga_id in truth.saga_ids] if each.of_each_saga else [()]
            self._new += [_Question(each, (truth, *about)) for about in sagas]
        self._asked_at: dict[Place, list[_Question]] = {}

    def problems(self, changed: Iterable[Place]) -> list[str]:
        """What is wrong now that these have changed."""
        concerned, self._new = self._new, []
        for place in changed:
            if place in self._asked_at:
                concerned = [*concerned, *self._asked_at[place]]
        found: list[str] = []
        for question in dict.fromkeys(concerned):
            self._truth.notes_looks(question.looked)
            found += question.invariant.asked(*question.about)
            if len(question.looked) > len(question.places):
                for place in question.looked - question.places:
                    self._asked_at.setdefault(place, []).append(question)
                question.places |= question.looked
        self._truth.notes_looks(set())  # whoever looks from here on is none of these
        return found


# ------------------------------------------------------------------- for every choreography


@invariant(always=True)
def one_terminal_state(truth: Truth, saga_id: str) -> Iterator[str]:
    """Garcia-Molina and Salem: a saga completes, or it is compensated. Once."""
    if len(ends := truth.ends(saga_id)) > 1:
        yield f"saga {saga_id} has ended {len(ends)} times: {', '.join(ends)}"


@invariant(always=True)
def nothing_happens_twice(truth: Truth, saga_id: str) -> Iterator[str]:
    """A step decides once in one saga, and so does its undo."""
    reports, seen = _reports_of(truth.choreography), dict[str, Message]()
    for each in truth.events(saga_id):
        for who in reports.get((each.source, each.type), ()):
            first = seen.setdefault(who, each)
            if not _together(first, each):
                yield f"{who} of saga {saga_id} has reported more than once"


@invariant(always=True)
def what_is_undone_stays_undone(truth: Truth, saga_id: str) -> Iterator[str]:
    """Behind its undo, a tombstone included, a step says nothing any more."""
    reports, undone = _reports_of(truth.choreography), set[str]()
    for each in truth.said(saga_id):
        for who in reports.get(each, ()):
            if who in undone:
                yield f"{who} of saga {saga_id} has reported after it was undone"
            if who.startswith(_UNDO):
                undone.add(who.removeprefix(_UNDO))


def _together(one: Message, other: Message) -> bool:
    """Whether one decision led to both."""
    return (one.sequence, one.causation_id) == (other.sequence, other.causation_id)


_UNDO = "the undo of "


@cache
def _reports_of(choreography: Choreography) -> Mapping[tuple[str, str], tuple[str, ...]]:
    """Which step, or its undo, says by an event that it is through: by source and type."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for step in choreography.steps:
        undo = () if step.undo is None else step.undo.emits
        spent = () if step.reaction.spent is None else step.reaction.spent.refuses
        forward = dict.fromkeys((*step.reaction.emits, *step.reaction.refuses, *spent))
        for word, classes in (("step ", forward), (f"{_UNDO}step ", undo)):
            for cls in classes:
                said = (f"/{step.kind.participant.name}", event_type(cls))
                found[said] = (*found.get(said, ()), word + step.name)
    return found


@invariant
def every_saga_ends(truth: Truth, saga_id: str) -> Iterator[str]:
    """Liveness: the world gave it all the time that it may take."""
    if not truth.ends(saga_id):
        last = [message.type for message in truth.events(saga_id)][-1:]
        yield f"saga {saga_id} has not ended; its last event is {last or 'none at all'}"


@invariant
def all_done_or_all_undone(truth: Truth, saga_id: str) -> Iterator[str]:
    """What stands in the participants' documents fits the end that the saga came to."""
    if not truth.ends(saga_id):
        return
    completed, heard = truth.completed(saga_id), {type_ for _, type_ in truth.said(saga_id)}
    for step in truth.choreography.steps:
        status = truth.step(saga_id, step.kind.participant.name, step.name)
        if completed and status in (StepStatus.UNDONE, StepStatus.TOMBSTONE):
            yield f"saga {saga_id} is completed, but {step.name} is {status}"
        kept = any(event_type(cls) in heard for cls in step.kept_on)
        undoable = step.undo is not None or not step.pivot
        if not completed and status is StepStatus.DONE and undoable and not kept:
            yield f"saga {saga_id} is compensated, but {step.name} is still done"


@invariant
def nothing_is_left_over(truth: Truth) -> Iterator[str]:
    """No dead letter, no held message, no retry, nobody asked for attention, in any document."""
    for participant, collection, key, aggregate in truth.unsettled():
        for word, left in _leftovers(aggregate):
            yield f"{participant}'s {collection}/{key} still has {word}: {left}"


def _leftovers(aggregate: Aggregate) -> Iterator[tuple[str, str]]:
    if aggregate.dead:
        letters = (f"{each.message.type} ({each.cause})" for each in aggregate.dead.values())
        yield "dead letters", ", ".join(letters)
    if aggregate.held:
        yield "held messages", ", ".join(each.type for each in aggregate.held)
    if aggregate.retries:
        yield "retries", ", ".join(each.message.type for each in aggregate.retries.values())
    if aggregate.attention:
        yield "steps in attention", ", ".join(aggregate.attention)


@invariant
def the_tracker_sees_the_truth(truth: Truth, saga_id: str) -> Iterator[str]:
    """Its view has every event once, says how the saga ended, and finds nothing wrong."""
    view = truth.views().get(saga_id)
    if view is None:
        yield f"the {TRACKER} has never heard of saga {saga_id}"
        return
    true = {each.id: each.type for each in truth.events(saga_id)}
    seen = Counter(each.id for each in view.entries)
    if seen != Counter(true.keys()):
        missing = [type_ for id_, type_ in true.items() if id_ not in seen]
        yield f"the view of saga {saga_id} lacks {missing}, or has events twice"
    elif truth.ends(saga_id):
        good = SagaStatus.COMPLETED if truth.completed(saga_id) else SagaStatus.COMPENSATED
        if view.status is not good:
            yield f"saga {saga_id} is {good}, its view says {view.status}"
        if view.stuck:
            yield f"saga {saga_id} has ended, its view says stuck"
        if view.violations:
            yield f"the view of saga {saga_id} finds fault with it: {view.violations}"


EVERYWHERE = (
    one_terminal_state,
    nothing_happens_twice,
    what_is_undone_stays_undone,
    every_saga_ends,
    all_done_or_all_undone,
    nothing_is_left_over,
    the_tracker_sees_the_truth,
)
