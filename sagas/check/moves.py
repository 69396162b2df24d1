"""From each declared reaction to the moves that it makes possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from sagas.check.bits import Bits, Move, StepBits
from sagas.check.emissions import outcomes, refusals
from sagas.check.finding import Happening
from sagas.check.flow import emissions, origin
from sagas.envelope import Command, event_type
from sagas.participant import Participant, Reaction, ReactionKind

__all__ = ["moves_of"]

Trigger = type[BaseModel]


def moves_of(model: Bits) -> list[Move]:
    """Every move of every participant, and of the world outside."""
    moves: list[Move] = []
    for participant in model.choreography.participants:
        moves += _from_outside(model, participant)
        for bits in model.of_participant(participant):
            moves += _step(model, bits)
            moves += _undo(model, bits)
        for reaction in participant.reactions():
            if reaction.role not in (ReactionKind.STEP, ReactionKind.UNDO):
                moves += _beside(model, reaction)
    return moves


# ---------------------------------------------------------------------------------------- steps


def _step(model: Bits, bits: StepBits) -> Iterator[Move]:
    reaction = bits.step.reaction
    triggered = _triggered(model, reaction, bits)
    absent = bits.status
    if reaction.is_async and reaction.resources():
        # The effect is outside, and only then comes the write: anything may happen in between.
        yield Move(
            _told(reaction, "has its effect, not written yet"),
            reaction,
            triggered,
            absent,
            bits.effect,
        )
        needs: tuple[int, ...] = (bits.effect,)
        start, forbids, clears = "is written", 0, bits.effect
    else:
        start, needs, forbids, clears = "is done", triggered, absent, 0
    for events in outcomes(reaction):
        said = bits.done | _sent(model, reaction, events)
        yield Move(_told(reaction, start, events), reaction, needs, forbids, said, clears)
    for cls in refusals(reaction):
        said, happening = bits.refused | _sent(model, reaction, (cls,)), _told(reaction, "refuses")
        happening = _told(reaction, "refuses", (cls,))
        yield Move(happening, reaction, triggered, absent, said, refusal=True)
        if reaction.spent is not None and cls in reaction.spent.refuses:
            voided = _told(reaction, "voids its effect and refuses", (cls,))
            yield Move(voided, reaction, (bits.effect,), 0, said, bits.effect, refusal=True)


def _triggered(model: Bits, reaction: Reaction, bits: StepBits | None) -> tuple[int, ...]:
    """What has to be there for the reaction to start; nothing when a command may start it."""
    document = model.document(reaction)
    needs = (document,) if document else ()
    if any(issubclass(cls, Command) for cls in reaction.triggers):
        return needs
    heard = model.mask(reaction.triggers, reaction.kind.participant.name)
    return (heard | (bits.report if bits is not None else 0), *needs)


# ---------------------------------------------------------------------------------------- undos


def _undo(model: Bits, bits: StepBits) -> Iterator[Move]:
    undo = bits.step.undo
    if undo is None:
        return
    participant = undo.kind.participant
    heard = model.mask(undo.triggers, participant.name)
    heard |= model.any_of(_report_bit(model, cls, undo) for cls in model.reports(undo))
    pivot = model.pivot
    owns_pivot = pivot is not None and pivot.step.kind.participant is participant
    # Only the pivot's owner knows whether it is too late; and there it is past the pivot.
    too_late = model.passed if undo.refuses and owns_pivot else 0
    settled = bits.refused | bits.undone | bits.tombstone
    for events in outcomes(undo):
        said = bits.undo_ran | _sent(model, undo, events)
        yield from _undoing(model, bits, undo, heard, settled, too_late, said, events)
    for cls in undo.refuses:
        asked = (heard, too_late) if too_late else (heard, bits.done)
        # Where no pivot tells when, the answer is final: the message is in the inbox.
        seen = 0 if too_late else bits.undo_ran
        yield Move(
            _told(undo, "refuses", (cls,)),
            undo,
            asked,
            settled | seen,
            _sent(model, undo, (cls,)) | seen,
        )


def _undoing(
    model: Bits,
    bits: StepBits,
    undo: Reaction,
    heard: int,
    settled: int,
    too_late: int,
    said: int,
    events: tuple[Trigger, ...],
) -> Iterator[Move]:
    final = 0 if too_late or not undo.refuses else bits.undo_ran
    if model.tombstones:
        forbids = settled | too_late | final
        done = _told(undo, "undoes", events)
        yield Move(done, undo, (heard, bits.done), forbids, said | bits.undone, bits.done)
        empty = _told(undo, "comes before its step and leaves a tombstone", events)
        yield Move(empty, undo, (heard,), forbids | bits.done, said | bits.tombstone, bits.effect)
        return
    # The inbox alone is left: one message undoes once, and then the step is as it was.
    forbids = settled | too_late | bits.undo_ran
    done = _told(undo, "undoes", events)
    yield Move(done, undo, (heard, bits.done), forbids, said | bits.undone, bits.done)
    empty = _told(undo, "comes before its step and leaves no trace", events)
    yield Move(empty, undo, (heard,), forbids | bits.done, said)


# --------------------------------------------------------------------------------------- beside


def _beside(model: Bits, reaction: Reaction) -> Iterator[Move]:
    """Followers, commands and timers that say something of concern."""
    if not any(model.flow.is_relevant(cls, _owner(reaction)) for cls in emissions(reaction)):
        return
    follows = reaction.role is ReactionKind.FOLLOW
    timer = reaction.role is ReactionKind.TIMER
    if follows:
        needs = _triggered(model, reaction, None)
        what = "follows"
    else:
        # Nobody cancels, and no timer runs, before there is something to cancel.
        own = model.of_participant(reaction.kind.participant)
        begun = model.any_of(bits.recorded for bits in own or model.steps)
        needs = (begun,) if begun else ()
        what = "is due" if timer else "is asked"
    for events in outcomes(reaction):
        sent = _sent(model, reaction, events)
        if sent:
            told = _told(reaction, what, events)
            yield Move(told, reaction, needs, 0, sent, certain=follows, timer=timer)


def _from_outside(model: Bits, participant: Participant[Any]) -> Iterator[Move]:
    """What the world sends: reports on what was begun there, and events of others' making."""
    before: StepBits | None = None
    for bits in model.of_participant(participant):
        if bits.report:
            reports = model.reports(bits.step.reaction)
            # A report answers what the participant began: the step declared before it.
            needs = () if before is None else (before.begun,)
            told = _report(participant, reports)
            yield Move(told, None, needs, 0, bits.report)
        undo = bits.step.undo
        for cls in () if undo is None else model.reports(undo):
            assert undo is not None
            told, sent = _report(participant, [cls]), _report_bit(model, cls, undo)
            yield Move(told, None, (bits.begun,), 0, sent, certain=False)
        before = bits
    yield from _foreign(model, participant)


def _foreign(model: Bits, participant: Participant[Any]) -> Iterator[Move]:
    started = model.any_of(bits.status for bits in model.steps)
    for reaction in participant.reactions():
        for cls in reaction.triggers:
            bit = model.mask([cls], participant.name)
            if not bit or issubclass(cls, Command):
                continue
            if model.flow.comes_from_outside(cls, participant):
                starts = reaction.role is ReactionKind.STEP
                told = _report(participant, [cls])
                needs = () if starts else (started,)
                yield Move(told, None, needs, 0, bit, certain=starts)


def _report_bit(model: Bits, cls: Trigger, reaction: Reaction) -> int:
    """The bit of a report that undoes: it stands for itself."""
    name = f"{reaction.kind.participant.name}'s {event_type(cls)}"
    if name not in model.events:
        model.events[name] = model.bit()
    return model.events[name]


def _report(participant: Participant[Any], events: Iterable[Trigger]) -> Happening:
    who = next((found for cls in events if (found := origin(cls))), "outside")
    names = tuple(event_type(cls) for cls in events)
    return Happening(participant.name, who, "reports" if len(names) == 1 else "reports one", names)


def _sent(model: Bits, reaction: Reaction, events: Iterable[Trigger]) -> int:
    return model.mask(events, _owner(reaction))


def _told(reaction: Reaction, what: str, events: Iterable[Trigger] = ()) -> Happening:
    return Happening(_owner(reaction), reaction.name, what, tuple(map(event_type, events)))


def _owner(reaction: Reaction) -> str:
    return reaction.kind.participant.name
