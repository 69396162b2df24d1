"""From each declared reaction to the moves that it makes possible."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from sagas.check.bits import Bits, Move, StepBits, reaches_out
from sagas.check.emissions import outcomes, refusing
from sagas.check.finding import Happening, Place
from sagas.envelope import Command, event_type
from sagas.events import origin
from sagas.participant import Participant
from sagas.reaction import Reaction, ReactionKind

__all__ = ["moves_of"]

Trigger = type[BaseModel]
_EFFECT = "has its effect, not written yet"


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
    absent, barred = bits.status, _barred(model, bits)
    if reaches_out(reaction):
        # The effect is outside, and only then comes the write: anything may happen in between.
        # A key that was undone takes no effect, whether or not that is written.
        told, forbids = _told(reaction, _EFFECT), absent | barred | bits.undoing
        yield Move(told, reaction, triggered, forbids, bits.effect)
        needs: tuple[int, ...] = (bits.effect,)
        start, forbids, clears = "is written", 0, bits.effect
    else:
        start, needs, forbids, clears = "is done", triggered, absent | barred, 0
    for events in outcomes(reaction, loose=model.loose):
        said = bits.done | _sent(model, reaction, events)
        yield Move(_told(reaction, start, events), reaction, needs, forbids, said, clears)
    # An undo under way has nothing left to write once the refusal is written.
    for events in refusing(reaction, loose=model.loose):
        said, clears = bits.refused | _sent(model, reaction, events), bits.undoing
        happening = _told(reaction, "refuses", events)
        yield Move(happening, reaction, triggered, absent, said, clears, refusal=True)
        if reaction.spent is not None and events[0] in reaction.spent.refuses:
            voided = _told(reaction, "voids its effect and refuses", events)
            clears |= bits.effect
            yield Move(voided, reaction, (bits.effect,), 0, said, clears, refusal=True)


def _barred(model: Bits, bits: StepBits) -> int:
    """What a pivot that may refuse yields to: its participant gave the saga up already.

    It decides on its own document, or asks outside, where what was undone is known at once.
    """
    if not bits.step.pivot or not bits.step.reaction.may_refuse:
        return 0
    asked = [
        each
        for each in model.of_participant(bits.step.kind.participant)
        if each.step.undo is not None and each.step.undo.refuses
    ]
    outside = reaches_out(bits.step.reaction)
    return model.any_of(
        each.undone | each.tombstone | (each.undoing if outside else 0) for each in asked
    )


def _triggered(model: Bits, reaction: Reaction, bits: StepBits | None) -> tuple[int, ...]:
    """What has to be there for the reaction to start; nothing when a command may start it."""
    document = model.document(reaction)
    needs = (document,) if document else ()
    if any(issubclass(cls, Command) for cls in reaction.triggers):
        return needs
    heard = model.mask(reaction.triggers, reaction.kind.participant.name)
    if bits is not None:
        return (heard | bits.report, *needs)
    heard |= model.any_of(_report_bit(model, cls, reaction) for cls in model.reports(reaction))
    return (heard, *needs)


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
    # Where no pivot tells when, a refusal is final: the message is in the inbox.
    final = 0 if too_late or not undo.refuses else bits.undo_ran
    forbids = settled | too_late | (final if model.tombstones else bits.undo_ran)
    if bits.undoing:
        # Its step, where it is not written yet, goes on: nobody there knows.
        told = _told(undo, _EFFECT)
        yield Move(told, undo, (heard,), forbids | bits.undoing, bits.undoing)
        yield from _undone(model, bits, undo, (bits.undoing,), forbids)
    else:
        yield from _undone(model, bits, undo, (heard,), forbids)
    for events in refusing(undo, loose=model.loose):
        asked = (heard, too_late) if too_late else (heard, bits.done)
        forbids = settled | (0 if too_late else bits.undo_ran | bits.undoing)
        said = _sent(model, undo, events) | final
        yield Move(_told(undo, "refuses", events), undo, asked, forbids, said)


def _undone(
    model: Bits, bits: StepBits, undo: Reaction, needs: tuple[int, ...], forbids: int
) -> Iterator[Move]:
    """The write of an undo: what it finds of its step decides what it leaves."""
    written = "is written and" if bits.undoing else ""
    for events in outcomes(undo, loose=model.loose):
        said = bits.undo_ran | _sent(model, undo, events)
        found = _told(undo, f"{written} undoes".strip(), events)
        clears = bits.done | bits.undoing
        yield Move(found, undo, (*needs, bits.done), forbids, said | bits.undone, clears)
        # The inbox alone is left without a tombstone, and then the step is as it was.
        left, mark, clears = "no trace", 0, bits.undoing
        if model.tombstones:
            left, mark, clears = "a tombstone", bits.tombstone, bits.effect | bits.undoing
        empty = _told(undo, f"comes before its step is written, and leaves {left}", events)
        yield Move(empty, undo, needs, forbids | bits.done, said | mark, clears)


# --------------------------------------------------------------------------------------- beside


def _beside(model: Bits, reaction: Reaction) -> Iterator[Move]:
    """Followers, commands and timers that say something of concern."""
    if not _concerns(model, reaction):
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
    for events in outcomes(reaction, loose=model.loose):
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
            # What was undone there is not reported on, whether or not we have written that.
            forbids = 0 if before is None else before.undoing
            told = _report(participant, reports)
            yield Move(told, None, needs, forbids, bits.report)
        undo = bits.step.undo
        for cls in () if undo is None else model.reports(undo):
            assert undo is not None
            told, sent = _report(participant, [cls]), _report_bit(model, cls, undo)
            yield Move(told, None, (bits.begun,), 0, sent, certain=False)
        before = bits
    yield from _followed(model, participant)
    yield from _foreign(model, participant)


def _followed(model: Bits, participant: Participant[Any]) -> Iterator[Move]:
    """Reports that no step waits for, but a follower that says something of concern."""
    begun = model.any_of(bits.begun for bits in model.of_participant(participant) or model.steps)
    for reaction in participant.reactions():
        if reaction.role is not ReactionKind.FOLLOW or not _concerns(model, reaction):
            continue
        for cls in model.reports(reaction):
            told, sent = _report(participant, [cls]), _report_bit(model, cls, reaction)
            yield Move(told, None, (begun,), 0, sent, certain=False)


def _foreign(model: Bits, participant: Participant[Any]) -> Iterator[Move]:
    started = model.any_of(bits.status for bits in model.steps)
    for reaction in participant.reactions():
        for cls in reaction.triggers:
            bit = model.mask([cls], participant.name)
            if not bit or issubclass(cls, Command) or model.flow.is_report(cls, participant):
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
    names = tuple(map(event_type, events))
    return Happening(_owner(reaction), reaction.name, what, names, Place.of(reaction))


def _concerns(model: Bits, reaction: Reaction) -> bool:
    """Whether it says something that the model has to remember."""
    return any(model.flow.is_relevant(cls, _owner(reaction)) for cls in reaction.says)


def _owner(reaction: Reaction) -> str:
    return reaction.kind.participant.name
