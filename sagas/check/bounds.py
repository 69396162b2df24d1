"""Cycles without a bound, and deadlines that pass before the retries are spent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sagas.check.ends import past_the_pivot
from sagas.check.explore import Explored
from sagas.check.finding import Finding, Happening, Place
from sagas.check.flow import Flow, topic
from sagas.envelope import event_type
from sagas.kind import Step
from sagas.reaction import Reaction, ReactionKind

__all__ = ["cycles", "deadline"]


def cycles(flow: Flow) -> Iterator[Finding]:
    """Reactions that start each other again and again.

    A step runs once per saga, and so does its undo: a cycle through one is bounded. Followers run
    for every message, and an undo that refuses leaves everything as it was.
    """
    unbounded: dict[int, list[tuple[str, Reaction]]] = {}
    looping = [reaction for reaction in flow.reactions() if _says(reaction)]
    for reaction in looping:
        said = {topic(cls, reaction.kind.participant.name) for cls in _says(reaction)}
        unbounded[id(reaction)] = [
            (event_type(cls), other)
            for other in looping
            for cls in other.triggers
            if topic(cls, other.kind.participant.name) in said
        ]
    told: set[int] = set()
    for reaction in looping:
        way = _way_back(reaction, unbounded)
        if way is None or id(reaction) in told:
            continue
        told |= {id(other) for _, other in way}
        trace = tuple(
            Happening(
                before.kind.participant.name, before.name, "answers", (event,), Place.of(before)
            )
            for before, (event, _) in zip([reaction, *(o for _, o in way)], way, strict=False)
        )
        names = " → ".join([reaction.name, *(other.name for _, other in way)])
        yield Finding(
            "SAGA401",
            f"{reaction.kind.participant.name}.{reaction.name}",
            Place.of(reaction),
            f"These start each other for ever: {names}.",
            "Make one of them a step, which runs once per saga, or let one fall silent.",
            trace,
        )


def _says(reaction: Reaction) -> tuple[type, ...]:
    """What a reaction may say any number of times in one saga."""
    if reaction.role is ReactionKind.FOLLOW:
        return reaction.emits
    return reaction.refuses if reaction.role is ReactionKind.UNDO else ()


def _way_back(
    start: Reaction, onward: dict[int, list[tuple[str, Reaction]]]
) -> list[tuple[str, Reaction]] | None:
    """The shortest way from a reaction to itself."""
    ways: list[list[tuple[str, Reaction]]] = [[step] for step in onward[id(start)]]
    seen: set[int] = set()
    for way in ways:  # it grows while it is read
        here = way[-1][1]
        if here is start:
            return way
        if id(here) not in seen:
            seen.add(id(here))
            ways += [[*way, step] for step in onward[id(here)]]
    return None


def deadline(explored: Explored, deadline_s: float | None) -> Iterator[Finding]:
    """The slowest way to the pivot must fit into the saga's deadline, every retry included."""
    if deadline_s is None:
        return
    choreography = explored.model.choreography
    past = past_the_pivot(explored)
    steps = [step for step in choreography.steps if step.name not in past]
    slowest: list[Step[Any]] = []
    for step in steps:
        slowest = max(slowest, _longest_to(step, steps, ()), key=_seconds)
    total = _seconds(slowest)
    if total <= deadline_s:
        return
    worst = max(slowest, key=lambda step: _seconds([step]))
    trace = tuple(
        Happening(
            step.kind.participant.name,
            step.name,
            f"is tried for up to {_seconds([step]):.0f} s",
            place=Place.of(step.reaction),
        )
        for step in slowest
    )
    yield Finding(
        "SAGA402",
        f"{worst.kind.participant.name}.{worst.name}",
        Place.of(worst.reaction),
        f"The saga's deadline is {deadline_s:g} s, but its steps may rightly be tried for "
        f"{total:.0f} s: it would be cancelled while it is getting on.",
        f"Give the saga more than {total:.0f} s, or {worst.name} a shorter `RetryPolicy`.",
        trace,
    )


def _longest_to(
    step: Step[Any], steps: list[Step[Any]], behind: tuple[str, ...]
) -> list[Step[Any]]:
    """The slowest chain of steps that ends with this one."""
    heard = {event_type(cls) for cls in step.reaction.triggers}
    before: list[Step[Any]] = []
    for other in steps:
        says = {event_type(cls) for cls in other.reaction.emits}
        if says & heard and other.name not in behind and other is not step:
            way = _longest_to(other, steps, (*behind, step.name))
            before = max(before, way, key=_seconds)
    return [*before, step]


def _seconds(steps: list[Step[Any]]) -> float:
    # A step that only decides does not wait for anybody.
    return sum(step.reaction.retry.longest_s for step in steps if step.reaction.is_async)
