"""What must hold in every world. Each is a plain function that yields what is wrong, in words.

    @invariant
    def rooms_add_up(truth: Truth) -> Iterator[str]:
        if taken(truth) > ROOMS:
            yield "more rooms are taken than there are"

``always=True``: it holds at every moment, so it is checked while the world runs, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, overload

from sagas.aggregate import Aggregate, StepStatus
from sagas.envelope import event_type
from sagas.participant import Step
from sagas.simulate.truth import TRACKER, Truth
from sagas.tracker import SagaStatus

__all__ = ["EVERYWHERE", "Invariant", "invariant"]

Check = Callable[[Truth], Iterator[str]]


@dataclass(frozen=True, slots=True)
class Invariant:
    """``check`` yields problems; none means that it holds."""

    check: Check
    always: bool = False

    @property
    def name(self) -> str:
        return self.check.__name__

    def problems(self, truth: Truth) -> list[str]:
        return [f"{self.name}: {problem}" for problem in self.check(truth)]


@overload
def invariant(check: Check) -> Invariant: ...
@overload
def invariant(*, always: bool) -> Callable[[Check], Invariant]: ...
def invariant(
    check: Check | None = None, *, always: bool = False
) -> Invariant | Callable[[Check], Invariant]:
    """Make an invariant of a function."""
    if check is None:
        return lambda each: Invariant(each, always)
    return Invariant(check)


# ------------------------------------------------------------------- for every choreography


@invariant(always=True)
def one_terminal_state(truth: Truth) -> Iterator[str]:
    """Garcia-Molina and Salem: a saga completes, or it is compensated. Once."""
    for saga_id in truth.saga_ids:
        if len(ends := truth.ends(saga_id)) > 1:
            yield f"saga {saga_id} has ended {len(ends)} times: {', '.join(ends)}"


@invariant(always=True)
def nothing_happens_twice(truth: Truth) -> Iterator[str]:
    """A step reports once in one saga, and so does its undo."""
    for saga_id in truth.saga_ids:
        said = Counter((each.source, each.type) for each in truth.events(saga_id))
        for step in truth.choreography.steps:
            source = f"/{step.kind.participant.name}"
            for word, types in _reports(step):
                count = sum(said[source, type_] for type_ in types)
                if count > 1:
                    yield f"{word} {step.name} of saga {saga_id} has reported {count} times"


@invariant(always=True)
def what_is_undone_stays_undone(truth: Truth) -> Iterator[str]:
    """Behind its undo, a tombstone included, a step says nothing any more."""
    for saga_id in truth.saga_ids:
        said = [(each.source, each.type) for each in truth.events(saga_id)]
        for step in truth.choreography.steps:
            source = f"/{step.kind.participant.name}"
            (_, reports), (_, undone) = _reports(step)
            places = [place for place, (who, what) in enumerate(said) if who == source]
            first = min((place for place in places if said[place][1] in undone), default=len(said))
            if any(said[place][1] in reports for place in places if place > first):
                yield f"step {step.name} of saga {saga_id} has reported after it was undone"


def _reports(step: Step[Any]) -> Iterator[tuple[str, list[str]]]:
    """The wire names by which a step, and its undo, say that they are through."""
    undo = () if step.undo is None else step.undo.emits
    spent = () if step.reaction.spent is None else step.reaction.spent.refuses
    forward = dict.fromkeys((*step.reaction.emits, *step.reaction.refuses, *spent))
    yield "step", [event_type(cls) for cls in forward]
    yield "the undo of", [event_type(cls) for cls in undo]


@invariant
def every_saga_ends(truth: Truth) -> Iterator[str]:
    """Liveness: the world gave it all the time that it may take."""
    for saga_id in truth.saga_ids:
        if not truth.ends(saga_id):
            last = [message.type for message in truth.events(saga_id)][-1:]
            yield f"saga {saga_id} has not ended; its last event is {last or 'none at all'}"


@invariant
def all_done_or_all_undone(truth: Truth) -> Iterator[str]:
    """What stands in the participants' documents fits the end that the saga came to."""
    for saga_id in truth.saga_ids:
        ends = truth.ends(saga_id)
        if not ends:
            continue
        completed, heard = truth.completed(saga_id), {each.type for each in truth.events(saga_id)}
        for step in truth.choreography.steps:
            status = truth.step(saga_id, step.kind.participant.name, step.name)
            kept = any(event_type(cls) in heard for cls in step.kept_on)
            if completed and status in (StepStatus.UNDONE, StepStatus.TOMBSTONE):
                yield f"saga {saga_id} is completed, but {step.name} is {status}"
            elif not completed and status is StepStatus.DONE and step.undo and not kept:
                yield f"saga {saga_id} is compensated, but {step.name} is still done"


@invariant
def nothing_is_left_over(truth: Truth) -> Iterator[str]:
    """No dead letter, no held message, no retry, nobody asked for attention, in any document."""
    for participant, collection, key, aggregate in truth.everything():
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
def the_tracker_sees_the_truth(truth: Truth) -> Iterator[str]:
    """Its view has every event once, says how the saga ended, and finds nothing wrong."""
    views = truth.views()
    for saga_id in truth.saga_ids:
        view = views.get(saga_id)
        if view is None:
            yield f"the {TRACKER} has never heard of saga {saga_id}"
            continue
        seen, true = (
            Counter(each.id for each in view.entries),
            Counter(each.id for each in truth.events(saga_id)),
        )
        if seen != true:
            missing = [truth.written[each].type for each in true if each not in seen]
            yield f"the view of saga {saga_id} lacks {missing}, or has events twice"
        elif truth.ends(saga_id):
            good = SagaStatus.COMPLETED if truth.completed(saga_id) else SagaStatus.COMPENSATED
            if view.status is not good:
                yield f"saga {saga_id} is {good}, its view says {view.status}"
            if view.stuck:
                yield f"saga {saga_id} has ended, its view says stuck"


EVERYWHERE = (
    one_terminal_state,
    nothing_happens_twice,
    what_is_undone_stays_undone,
    every_saga_ends,
    all_done_or_all_undone,
    nothing_is_left_over,
    the_tracker_sees_the_truth,
)
