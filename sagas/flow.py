"""A choreography: the participants together, and the flow that their declarations imply."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sagas.envelope import Command, event_type
from sagas.errors import DeclarationError
from sagas.intake import topics_of
from sagas.kind import Step
from sagas.participant import Participant
from sagas.picture import mermaid
from sagas.reaction import Reaction, ReactionKind

__all__ = ["Choreography", "Edge", "Node"]

Trigger = type[BaseModel]


@dataclass(frozen=True, slots=True)
class Node:
    """A reaction in the flow. ``kind`` is a ``ReactionKind`` value."""

    id: str
    participant: str
    name: str
    kind: str
    pivot: bool = False
    compensation: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """``event`` leads from one reaction to another; ``refusal``: it says that something failed."""

    source: str
    target: str
    event: str
    refusal: bool = False


class Choreography:
    """Participants, listed in the order of the flow, and how a saga ends.

    ``completed_by`` and ``compensated_by`` are the terminal events. ``owner`` names the field of
    the starting event that says whose saga it is; ``operator`` is the role that sees them all.
    """

    def __init__(
        self,
        name: str,
        participants: Sequence[Participant[Any]],
        *,
        completed_by: Sequence[Trigger],
        compensated_by: Sequence[Trigger],
        owner: str | None = None,
        operator: str = "staff",
    ) -> None:
        self.name = name
        self.participants = tuple(participants)
        self.completed_by = tuple(completed_by)
        self.compensated_by = tuple(compensated_by)
        self.owner = owner
        self.operator = operator
        caller = sys._getframe(1)
        #: The file and line where this was made.
        self.declared_at = (caller.f_code.co_filename, caller.f_lineno)
        self._verify()

    def _verify(self) -> None:
        names = [participant.name for participant in self.participants]
        for name in names:
            if names.count(name) > 1:
                raise DeclarationError(f"choreography {self.name!r}: two participants {name!r}")
        steps: dict[str, Step[Any]] = {}
        for step in self.steps:
            if step.name in steps:
                raise DeclarationError(
                    f"{step.reaction.where}: the step's name is taken by "
                    f"{steps[step.name].reaction.where}; names are one per choreography"
                )
            steps[step.name] = step
        pivots = [step.name for step in self.steps if step.pivot]
        if len(pivots) > 1:
            raise DeclarationError(f"choreography {self.name!r} has several pivots: {pivots}")

    @property
    def steps(self) -> list[Step[Any]]:
        """All steps in the order of the flow."""
        return [step for participant in self.participants for step in participant.steps.values()]

    def queues(self, *others: Participant[Any]) -> dict[str, list[str]]:
        """What each participant's queue is bound to; ``others`` listen beside the choreography."""
        return {
            participant.name: topics_of(participant)
            for participant in (*self.participants, *others)
        }

    def event_classes(self) -> dict[str, Trigger]:
        """Every event that the declarations name, by wire name."""
        found: dict[str, Trigger] = {}
        for reaction in self._reactions():
            for cls in (*reaction.triggers, *reaction.emits, *reaction.refuses):
                if not issubclass(cls, Command):
                    found[event_type(cls)] = cls
        return found

    def _reactions(self) -> list[Reaction]:
        return [
            reaction for participant in self.participants for reaction in participant.reactions()
        ]

    # --------------------------------------------------------------------------------- diagram

    def nodes(self) -> list[Node]:
        """Steps and undos: what the flow consists of."""
        found = []
        for step in self.steps:
            where = step.kind.participant.name
            undo = step.undo.name if step.undo is not None else None
            found.append(Node(step.name, where, step.name, "step", step.pivot, undo))
            if step.undo is not None:
                found.append(Node(step.undo.name, where, step.undo.name, "undo"))
        return found

    def edges(self) -> list[Edge]:
        """Which event leads from which step or undo to which other."""
        flow = [
            reaction
            for reaction in self._reactions()
            if reaction.role in (ReactionKind.STEP, ReactionKind.UNDO)
        ]
        found = []
        for source in flow:
            spent = () if source.spent is None else source.spent.refuses
            for cls in dict.fromkeys((*source.emits, *source.refuses, *spent)):
                refusal = cls in (*source.refuses, *spent)
                found += [
                    Edge(source.name, target.name, event_type(cls), refusal)
                    for target in flow
                    if cls in target.triggers
                ]
        return found

    def mermaid(self) -> str:
        """The flow as a Mermaid flowchart: steps solid, refusals and undos dotted."""
        return mermaid(self)
