"""Which events of a choreography matter to how its sagas end, and where each comes from.

The model leaves everything else out: a catalogue's projections would only multiply its states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from sagas.envelope import Command, described
from sagas.events import origin
from sagas.flow import Choreography
from sagas.participant import Participant
from sagas.reaction import Reaction, ReactionKind

__all__ = ["Flow", "topic"]

Trigger = type[BaseModel]
_INSIDE = (ReactionKind.STEP, ReactionKind.UNDO, ReactionKind.FOLLOW)


def topic(cls: Trigger, participant: str) -> str:
    """The name under which an event travels: a private one is its participant's alone."""
    what = described(cls)
    return f"{participant}'s {what.type}" if what.private else what.type


class Flow:
    """The events and reactions of a choreography that concern its steps."""

    def __init__(self, choreography: Choreography, watched: Iterable[Trigger] = ()) -> None:
        self.choreography = choreography
        #: Topic → the reactions that say it.
        self.emitters: dict[str, list[Reaction]] = {}
        for reaction in self.reactions():
            for cls in reaction.says:
                self.emitters.setdefault(topic(cls, _owner(reaction)), []).append(reaction)
        self.topics = self._relevant(watched)

    def reactions(self) -> Iterator[Reaction]:
        """Every reaction of every participant."""
        for participant in self.choreography.participants:
            yield from participant.reactions()

    def comes_from_outside(self, cls: Trigger, participant: Participant[Any]) -> bool:
        """Whether no step, undo or follower says it, but somebody else is known to."""
        emitters = self.emitters.get(topic(cls, participant.name), [])
        if any(reaction.role in _INSIDE for reaction in emitters):
            return False
        # A private event that a side document or a route makes is a report from outside.
        return origin(cls) is not None and (described(cls).private or not emitters)

    def is_report(self, cls: Trigger, participant: Participant[Any]) -> bool:
        """Whether it tells one participant what became of something that it began outside."""
        return (
            not issubclass(cls, Command)
            and described(cls).private
            and self.comes_from_outside(cls, participant)
        )

    def is_relevant(self, cls: Trigger, participant: str) -> bool:
        """Whether the model has to remember that it was sent."""
        return topic(cls, participant) in self.topics

    def _relevant(self, watched: Iterable[Trigger]) -> dict[str, Trigger]:
        """What triggers, keeps or ends; then what makes followers, commands or timers say that."""
        choreography, found = self.choreography, dict[str, Trigger]()
        for cls in (*choreography.completed_by, *choreography.compensated_by, *watched):
            found[topic(cls, "")] = cls
        for step in choreography.steps:
            participant = step.kind.participant
            undo = () if step.undo is None else step.undo.triggers
            for cls in (*step.reaction.triggers, *undo, *step.kept_on):
                self._add(found, cls, participant)
        before = -1
        while before != len(found):
            before = len(found)
            for reaction in self.reactions():
                said = (topic(cls, _owner(reaction)) for cls in reaction.says)
                if any(name in found for name in said):
                    for cls in reaction.triggers:
                        self._add(found, cls, reaction.kind.participant)
        return found

    def _add(self, found: dict[str, Trigger], cls: Trigger, participant: Participant[Any]) -> None:
        if not issubclass(cls, Command) and not self.is_report(cls, participant):
            found[topic(cls, participant.name)] = cls


def _owner(reaction: Reaction) -> str:
    return reaction.kind.participant.name
