"""What the model remembers of one saga, a bit for each thing that may be so.

A step's effect happened, it is done, refused, undone, or a tombstone stands for it; the effect of
its undo happened; an event was sent; a report came from outside. Absent is what has none of a
step's bits, kept what is done when an event of its ``kept_on`` was sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from sagas.check.finding import Happening
from sagas.check.flow import Flow, topic
from sagas.flow import Choreography
from sagas.kind import Step
from sagas.participant import Participant
from sagas.reaction import Reaction, ReactionKind

__all__ = ["Bits", "Move", "StepBits", "reaches_out"]

Trigger = type[BaseModel]


def reaches_out(reaction: Reaction) -> bool:
    """Whether it has an effect outside, so that anything may happen between that and its write."""
    return reaction.is_async and bool(reaction.resources())


@dataclass(frozen=True, slots=True)
class StepBits:
    """The bits of one step. None of the first five: it is absent."""

    step: Step[Any]
    effect: int
    done: int
    refused: int
    undone: int
    tombstone: int
    #: A report from outside, which starts this step, has come; 0: no such report starts it.
    report: int
    #: The effect of its undo has happened and is not written yet; 0: its undo has none.
    undoing: int
    #: Its undo ran and is written, whether or not there was something to undo.
    undo_ran: int

    @property
    def status(self) -> int:
        return self.effect | self.done | self.refused | self.undone | self.tombstone

    @property
    def begun(self) -> int:
        """What the step does to the world has happened, and is not undone."""
        return self.report or self.effect | self.done

    @property
    def went_back(self) -> int:
        """What its undo does to the world has happened; 0: it has no undo."""
        return self.undoing | self.undo_ran

    @property
    def recorded(self) -> int:
        """It has left a state in its participant's document."""
        return self.done | self.refused | self.undone


@dataclass(frozen=True, slots=True)
class Move:
    """One transition: possible in states with a bit of each of ``needs`` and none of ``forbids``.

    ``certain``: sooner or later it happens, if it stays possible. What people or timers do is not.
    """

    happening: Happening
    reaction: Reaction | None
    needs: tuple[int, ...]
    forbids: int
    sets: int
    clears: int = 0
    certain: bool = True
    timer: bool = False
    refusal: bool = False

    def possible(self, state: int) -> bool:
        return not state & self.forbids and all(state & each for each in self.needs)

    def after(self, state: int) -> int:
        return state & ~self.clears | self.sets


class Bits:
    """What may be so in one choreography, a bit for each.

    ``tombstones=False``: what would happen if an undo that comes first left no trace. ``watched``
    are events to keep track of although no step depends on them. ``loose``: a reaction may say
    whatever its code leaves open, and need not say all that it declares.
    """

    def __init__(
        self,
        choreography: Choreography,
        *,
        tombstones: bool = True,
        watched: Iterable[Trigger] = (),
        loose: bool = False,
    ) -> None:
        self.choreography = choreography
        self.tombstones = tombstones
        self.loose = loose
        self.flow = Flow(choreography, watched)
        self._bits = 0
        self.events = {name: self.bit() for name in sorted(self.flow.topics)}
        self.steps = [self._step_bits(step) for step in choreography.steps]
        self.by_name = {bits.step.name: bits for bits in self.steps}
        self.pivot = next((bits for bits in self.steps if bits.step.pivot), None)
        self.completed = self.mask(choreography.completed_by)
        self.compensated = self.mask(choreography.compensated_by)

    def bit(self) -> int:
        """A bit of its own for one more thing that may be so."""
        self._bits += 1
        return 1 << (self._bits - 1)

    @property
    def passed(self) -> int:
        """The bits that tell that the pivot was passed; 0: there is none."""
        return 0 if self.pivot is None else self.pivot.begun

    def mask(self, events: Iterable[Trigger], participant: str = "") -> int:
        """The bits of these events, as one participant knows them."""
        return self.any_of(self.events.get(topic(cls, participant), 0) for cls in events)

    @staticmethod
    def any_of(bits: Iterable[int]) -> int:
        """All these bits in one."""
        found = 0
        for each in bits:
            found |= each
        return found

    def of_participant(self, participant: Participant[Any]) -> list[StepBits]:
        """The steps of one participant, in the order of their declaration."""
        return [bits for bits in self.steps if bits.step.kind.participant is participant]

    def reports(self, reaction: Reaction) -> list[Trigger]:
        """The reports from outside among what triggers a reaction."""
        participant = reaction.kind.participant
        return [cls for cls in reaction.triggers if self.flow.is_report(cls, participant)]

    def document(self, reaction: Reaction) -> int:
        """Bits of which one must be there before ``reaction`` finds its document; 0: it may be."""
        kind = reaction.kind
        if not reaction.needs_state or kind is not kind.participant.saga or not kind.by_saga:
            return 0
        others = (ReactionKind.FOLLOW, ReactionKind.COMMAND)
        if any(
            other.role in others and not other.takes_state
            for other in kind.participant.reactions()
            if other.kind is kind
        ):
            return 0  # something else may have made it
        return self.any_of(bits.recorded for bits in self.of_participant(kind.participant))

    def _step_bits(self, step: Step[Any]) -> StepBits:
        reports, undo = self.reports(step.reaction), step.undo
        return StepBits(
            step,
            effect=self.bit(),
            done=self.bit(),
            refused=self.bit(),
            undone=self.bit(),
            tombstone=self.bit(),
            report=self.bit() if reports else 0,
            undoing=self.bit() if undo is not None and reaches_out(undo) else 0,
            undo_ran=self.bit() if undo is not None else 0,
        )

    def statuses(self, state: int) -> dict[str, str]:
        """Where each step stands, in words: for people who look at one state."""
        words: Sequence[str] = ("undoing", "effect", "done", "refused", "undone", "tombstone")
        return {
            bits.step.name: next((w for w in words if state & getattr(bits, w)), "absent")
            for bits in self.steps
        }
