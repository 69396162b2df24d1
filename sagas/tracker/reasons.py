"""Why events cannot stand beside each other, in words, as precisely as the declarations tell."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydantic import BaseModel

from sagas.envelope import event_type
from sagas.flow import Choreography
from sagas.tracker.timeline import Entry
from sagas.tracker.violations import names

__all__ = ["Reasons"]


class Reasons:
    """``why`` finds the code and the sentence for a set of events that no saga says."""

    def __init__(self, choreography: Choreography) -> None:
        #: Reactions with events, by participant and type, of which each comes to one.
        self._outcomes = list(_outcomes(choreography))
        self._completing = _types(choreography.completed_by)
        self._compensating = _types(choreography.compensated_by)
        pivot = next((step for step in choreography.steps if step.pivot), None)
        self._pivot = "" if pivot is None else pivot.name
        self._forward = _types(() if pivot is None else pivot.reaction.emits)
        self._back = {
            (step.kind.participant.name, type_)
            for step in choreography.steps
            if step.undo is not None
            for type_ in _types(step.undo.emits)
        }

    def why(self, event: Entry, against: Sequence[Entry]) -> tuple[str, str]:
        """The most telling reason why ``event`` cannot stand beside ``against``."""
        for other in against:
            for reaction, said in self._outcomes:
                if {(event.participant, event.type), (other.participant, other.type)} <= said:
                    return (
                        "SAGA605",
                        f"{reaction} comes to one outcome: {names([other.type, event.type])} "
                        f"exclude each other.",
                    )
        types = {event.type, *(other.type for other in against)}
        done, back = types & self._completing, types & self._compensating
        if done and back:
            return "SAGA606", f"A saga ends once: {names(sorted(done | back))} exclude each other."
        gone = types & self._forward
        undone = {each.type for each in (event, *against) if self._goes_back(each)}
        if gone and undone:
            return (
                "SAGA607",
                f"The pivot {self._pivot} is passed ({names(sorted(gone))}), and "
                f"{names(sorted(undone))} cannot come beside it.",
            )
        told = [*dict.fromkeys(other.type for other in against), event.type]
        return "SAGA608", f"No saga says {names(told)} together."

    def _goes_back(self, entry: Entry) -> bool:
        return (entry.participant, entry.type) in self._back


def _outcomes(choreography: Choreography) -> Iterator[tuple[str, frozenset[tuple[str, str]]]]:
    for step in choreography.steps:
        who, undo = step.kind.participant.name, step.undo
        refused = (*step.reaction.refuses, *(step.reaction.spent or step.reaction).refuses)
        undone = () if undo is None else undo.emits
        yield (
            step.name,
            frozenset((who, type_) for type_ in _types((*step.reaction.emits, *refused))),
        )
        # What was refused is not undone.
        yield step.name, frozenset((who, type_) for type_ in _types((*undone, *refused)))
        if undo is not None:
            answers = _types((*undone, *undo.refuses))
            yield undo.name, frozenset((who, type_) for type_ in answers)


def _types(classes: Iterable[type[BaseModel]]) -> frozenset[str]:
    return frozenset(event_type(cls) for cls in classes)
