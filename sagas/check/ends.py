"""Every way a saga can come to rest must be an end: all done, or all undone or rightly kept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sagas.check.bits import Move, StepBits
from sagas.check.explore import Explored
from sagas.check.finding import Finding, Place, listed
from sagas.envelope import event_type
from sagas.kind import Step
from sagas.reaction import Reaction

__all__ = ["ends", "past_the_pivot"]


def past_the_pivot(explored: Explored) -> set[str]:
    """The steps that can only run once the pivot was passed."""
    model = explored.model
    if model.pivot is None:
        return set()
    ran, early = set[str](), set[str]()
    for state in explored.states:
        for bits in model.steps:
            if state & (bits.begun | bits.effect | bits.done | bits.refused):
                ran.add(bits.step.name)
                if not state & model.passed:
                    early.add(bits.step.name)
    return ran - early - {model.pivot.step.name}


def ends(explored: Explored) -> Iterator[Finding]:
    """Judge every state that nothing certain leaves; each fault is told once, the nearest first."""
    judge = _Judge(explored, past_the_pivot(explored))
    told: set[tuple[str, str]] = set()
    # What not even a timer puts right comes first: of two ways to the same fault it is the worse.
    for end in sorted(explored.ends, key=lambda end: end.ticking):
        for finding in judge.faults(end.state, end.ticking):
            key = (finding.code, finding.subject)
            if key not in told:
                told.add(key)
                yield finding


class _Judge:
    def __init__(self, explored: Explored, past: set[str]) -> None:
        self.explored = explored
        self.model = explored.model
        self.past = past

    def faults(self, state: int, ticking: bool) -> Iterator[Finding]:
        model = self.model
        completed = bool(state & model.completed)
        compensated = bool(state & model.compensated)
        begun = any(state & (bits.status | bits.report) for bits in model.steps)
        if not begun:
            return
        if completed and compensated:
            yield self._two_ends(state, ticking)
        elif completed:
            yield from self._undone_in_completed(state, ticking)
        elif any(state & _failed(bits) for bits in model.steps):
            left = [bits for bits in model.steps if self._left(bits, state)]
            if not model.tombstones:  # undone too early: races tell that
                left = [bits for bits in left if not state & bits.undo_ran]
            # The undo of one step starts that of the next: only the first that is missing counts.
            first = [bits for bits in left if not _waits_for(bits, left)]
            yield from (self._left_done(bits, state, ticking) for bits in first)
            if not compensated and not first:
                yield self._no_end(state, ticking, "SAGA203")
        elif not compensated:
            yield self._no_end(state, ticking, "SAGA204")

    def _left(self, bits: StepBits, state: int) -> bool:
        """Whether the step stays done although the saga failed, and nothing says that it may."""
        if not state & (bits.done | bits.effect):
            return False
        if bits.step.pivot or bits.step.name in self.past:
            return False
        return not state & self.model.mask(bits.step.kept_on, bits.step.kind.participant.name)

    # ------------------------------------------------------------------------------- telling

    def _left_done(self, bits: StepBits, state: int, ticking: bool) -> Finding:
        step, after = bits.step, self._failure(state)
        undo = step.undo
        if undo is None:
            return self._finding(
                "SAGA201",
                step,
                f"After {after} the step {step.name} stays done: it has no undo, and is not "
                f"declared kept.",
                f"Declare `@{step.name}.undone(on=…)`, or `kept_on=[{after}]` if what it did "
                f"may stay.",
                state,
                ticking,
            )
        awaited = listed([event_type(cls) for cls in undo.triggers])
        if undo.refuses and state & bits.undo_ran:
            return self._may_refuse(bits, undo, state, ticking)
        return self._finding(
            "SAGA202",
            step,
            f"After {after} the step {step.name} stays done: its undo {undo.name} waits for "
            f"{awaited}, which may never come.",
            f"Let {undo.name} listen to {after} or to the undo that comes before it, make sure "
            f"that this undo is declared, or declare `kept_on=[{after}]`.",
            state,
            ticking,
        )

    def _may_refuse(self, bits: StepBits, undo: Reaction, state: int, ticking: bool) -> Finding:
        step, answer = bits.step, listed([event_type(cls) for cls in undo.refuses])
        return self._finding(
            "SAGA202",
            step,
            f"After {self._failure(state)} the step {step.name} may stay done: its undo "
            f"{undo.name} may answer {answer}, and its participant owns no pivot that says when.",
            f"Only the owner of the pivot may refuse to undo: take {answer} out, or move the "
            f"pivot here.",
            state,
            ticking,
        )

    def _two_ends(self, state: int, ticking: bool) -> Finding:
        choreography = self.model.choreography
        done = listed([event_type(cls) for cls in choreography.completed_by])
        back = listed([event_type(cls) for cls in choreography.compensated_by])
        undone = next((bits for bits in self.model.steps if state & bits.undo_ran), None)
        return self._finding(
            "SAGA301",
            None if undone is None else undone.step,
            f"Both {done} and {back} may be sent for one saga: part of it goes forward while the "
            f"rest is undone.",
            "Ask one participant first, the pivot's owner: it refuses or undoes, and the others "
            "undo on its answer.",
            state,
            ticking,
        )

    def _undone_in_completed(self, state: int, ticking: bool) -> Iterator[Finding]:
        for bits in self.model.steps:
            if state & (bits.undone | bits.tombstone):
                yield self._finding(
                    "SAGA302",
                    bits.step,
                    f"The saga may complete although {bits.step.name} is undone.",
                    "Let the steps that follow be undone by the same chain, so that the saga "
                    "cannot go on, or ask the pivot's owner before undoing anything.",
                    state,
                    ticking,
                )

    def _no_end(self, state: int, ticking: bool, code: str) -> Finding:
        last = self._last(state)
        wanted = self.model.choreography.compensated_by
        message = f"After {self._failure(state)} the saga never reaches a terminal event: "
        if code == "SAGA204":
            wanted = self.model.choreography.completed_by
            message = "The saga may stop before any terminal event: "
        ending = listed([event_type(cls) for cls in wanted]) or "a terminal event"
        step = None if last is None or last.reaction is None else last.reaction.step
        return self._finding(
            code,
            step,
            f"{message}nothing happens after {'nothing' if last is None else last.happening}.",
            f"Let somebody react to this, so that it leads to {ending}, or declare it terminal.",
            state,
            ticking,
        )

    def _finding(
        self,
        code: str,
        step: Step[Any] | None,
        message: str,
        advice: str,
        state: int,
        ticking: bool,
    ) -> Finding:
        model, place, subject = self.model, None, self.model.choreography.name
        if step is not None:
            place, subject = Place.of(step.reaction), f"{step.kind.participant.name}.{step.name}"
        if ticking:
            names = sorted({move.happening.reaction for move in model.moves if move.timer})
            message += f" Only a timer ({', '.join(names)}) would put it right."
        trace = self.explored.trace(state)
        return Finding(code, subject, place, message, advice, trace, weaker=ticking)

    def _failure(self, state: int) -> str:
        """The event that set the undoing off: the first refusal, or what asked for the undo."""
        moves = self.explored.path(state)
        for move in moves:
            if move.refusal:
                return listed(move.happening.events)
        for move in moves:
            if not move.certain:
                return listed(move.happening.events)
        return "the failure"

    def _last(self, state: int) -> Move | None:
        """The last thing that a step or its undo said."""
        said = [move for move in self.explored.path(state) if move.reaction is not None]
        return said[-1] if said else None


def _failed(bits: StepBits) -> int:
    return bits.refused | bits.undone | bits.tombstone | bits.undo_ran


def _waits_for(bits: StepBits, left: list[StepBits]) -> bool:
    """Whether its undo would be started by the undo of another step that stays done too."""
    undo = bits.step.undo
    if undo is None:
        return False
    awaited = set(map(event_type, undo.triggers))
    return any(
        awaited & set(map(event_type, other.step.undo.emits))
        for other in left
        if other is not bits and other.step.undo is not None
    )
