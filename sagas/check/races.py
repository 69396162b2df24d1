"""What may cross what: undos and the pivot, undos and their own steps, and stated rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from sagas.check.bits import Move
from sagas.check.ends import past_the_pivot
from sagas.check.explore import Explored
from sagas.check.finding import Finding, Happening, Place, listed
from sagas.check.flow import topic
from sagas.check.model import Model
from sagas.check.never import Never, Thing
from sagas.check.never import name as name_of
from sagas.envelope import described, event_type
from sagas.errors import DeclarationError
from sagas.kind import Step
from sagas.reaction import Reaction

__all__ = ["races"]


def races(explored: Explored, rules: Sequence[Never]) -> Iterator[Finding]:
    """Search all states and moves for what must not cross."""
    yield from _without_tombstones(explored)
    for rule in rules:
        yield from _broken(explored, rule)
    yield from _pivot_crossed(explored)
    yield from _refused_too_late(explored)
    yield from _never_there(explored)


def _without_tombstones(explored: Explored) -> Iterator[Finding]:
    for bits in explored.model.steps:
        undo = bits.step.undo
        if undo is None:
            continue
        # Without a refusal and a tombstone, only an undo that came too early leaves this.
        if explored.model.tombstones:
            continue
        state = explored.first(bits.undo_ran, bits.done | bits.effect)
        if state is not None:
            step = bits.step.name
            yield _finding(
                "SAGA303",
                bits.step.reaction,
                f"{undo.name} may come before {step}, and {step} runs all the same: nothing "
                f"stands in its way.",
                f"Leave a tombstone in its place, as the engine does: {step} does not run behind "
                f"it. Whatever else runs this flow has to do the same.",
                explored.trace(state),
            )


# ---------------------------------------------------------------------------------- stated rules


def _broken(explored: Explored, rule: Never) -> Iterator[Finding]:
    model = explored.model
    what, other = _bits(model, rule, rule.what), _bits(model, rule, rule.other)
    lifted = model.mask(rule.lifted_by)
    doing = [move for move in model.moves if move.sets & what]
    for state, move in explored.edges(doing):
        happens = not state & what and move.after(state) & what
        wrong = bool(state & other) == (rule.after is not None)
        if happens and wrong and not state & lifted:
            reaction = _reaction(model, rule.what) or _reaction(model, rule.other) or move.reaction
            why = f" ({rule.why})" if rule.why else ""
            yield _finding(
                "SAGA304",
                reaction,
                f"The rule “{rule}”{why} can be broken.",
                _how_to_keep(rule),
                explored.trace(state, move),
            )
            return


def _how_to_keep(rule: Never) -> str:
    what, other = name_of(rule.what), name_of(rule.other)
    if rule.after is None:
        return f"Let {what} start from what {other} leads to; the trace shows how it gets ahead."
    return (
        f"Let the undo of what comes before {what} start only from the answer of its owner; the "
        f"trace shows what overtakes it."
    )


def _reaction(model: Model, thing: Thing) -> Reaction | None:
    for bits in model.steps:
        for reaction in (bits.step.reaction, bits.step.undo):
            if reaction is not None and reaction.name == thing:
                return reaction
    return None


def _bits(model: Model, rule: Never, thing: Thing) -> int:
    """The bits that tell that a thing has happened."""
    if not isinstance(thing, str):
        return _event_bits(model, rule, thing)
    for bits in model.steps:
        if thing == bits.step.name:
            return bits.report or bits.effect | bits.done | bits.undone
        if bits.step.undo is not None and thing == bits.step.undo.name:
            return bits.went_back
    raise DeclarationError(
        f"the rule “{rule}” names {thing!r}, which is no step or undo of "
        f"{model.choreography.name!r}"
    )


def _event_bits(model: Model, rule: Never, thing: type[BaseModel]) -> int:
    name = topic(thing, "")
    heard = {
        topic(cls, "")
        for reaction in model.flow.reactions()
        for cls in reaction.triggers
        if not described(cls).private
    }
    if name not in model.flow.emitters and name not in heard:
        # A private event has no name of its own outside of its participant.
        raise DeclarationError(
            f"the rule “{rule}” names {event_type(thing)}, which nobody of "
            f"{model.choreography.name!r} says to others or hears: name the step it starts"
        )
    return model.mask([thing])


# ----------------------------------------------------------------------------------- the pivot


def _pivot_crossed(explored: Explored) -> Iterator[Finding]:
    """An undo that may run after the pivot, or before it and the pivot is passed all the same."""
    model = explored.model
    if model.pivot is None:
        return
    excuses = _late_failures(explored)
    undos = [bits for bits in model.steps if bits.went_back]
    ran = model.any_of(bits.went_back for bits in undos)
    crossing: dict[str, tuple[Reaction, int, Move]] = {}
    wanted = [move for move in model.moves if move.sets & (ran | model.passed)]
    for state, move in explored.edges(wanted):
        if state & excuses or not move.after(state) & model.passed:
            continue
        for bits in undos:
            if move.after(state) & bits.went_back and bits.step.undo is not None:
                crossing.setdefault(bits.step.undo.name, (bits.step.undo, state, move))
    # The undo of one step starts that of the next: where the first goes wrong is what matters.
    started = {event_type(cls) for undo, _, _ in crossing.values() for cls in undo.emits}
    roots = [
        each for each in crossing.values() if not started & set(map(event_type, each[0].triggers))
    ]
    for undo, state, move in roots or crossing.values():
        yield _crossing(explored, undo, state, move)


def _late_failures(explored: Explored) -> int:
    """What can only go wrong past the pivot: undoing for that is what the choreography wants."""
    model = explored.model
    early = model.any_of(state for state in explored.states if not state & model.passed)
    asking = model.any_of(
        model.mask(bits.step.undo.triggers, bits.step.kind.participant.name)
        for bits in model.steps
        if bits.step.undo is not None
    )
    return (asking | model.any_of(bits.refused for bits in model.steps)) & ~early


def _crossing(explored: Explored, undo: Reaction, state: int, move: Move) -> Finding:
    pivot = explored.model.pivot
    assert pivot is not None
    asked = listed([event_type(cls) for cls in undo.triggers])
    return _finding(
        "SAGA305",
        undo,
        f"{undo.name} may run on {asked} although the pivot {pivot.step.name} is passed, or is "
        f"passed afterwards: one goes back while the other goes forward.",
        _how_not_to_cross(undo, pivot.step),
        explored.trace(state, move),
    )


def _how_not_to_cross(undo: Reaction, pivot: Step[Any]) -> str:
    owner = pivot.kind.participant
    if undo.kind.participant is not owner or not undo.refuses:
        return (
            f"Ask {owner.name} first: let its undo declare `refuses=[…]` for when it is too late, "
            f"and let {undo.name} listen to its answer."
        )
    if not pivot.reaction.may_refuse:
        return (
            f"{undo.name} asks, but nothing stops {pivot.name} afterwards: let it declare "
            f"`refuses=[…]`, or start from a private report (`private`, `origin`) of those outside."
        )
    return (
        f"Let {pivot.name} ask outside as {undo.name} does (async, through a port that refuses an "
        f"undone key): between that undo's effect and its write only those outside know."
    )


def _refused_too_late(explored: Explored) -> Iterator[Finding]:
    model = explored.model
    past = past_the_pivot(explored)
    for bits in model.steps:
        if bits.step.pivot or bits.step.name in past:
            continue
        refusing = [
            move for move in model.moves if move.refusal and move.reaction is bits.step.reaction
        ]
        for state, move in explored.edges(refusing):
            if state & model.passed:
                assert model.pivot is not None
                pivot = model.pivot.step.name
                yield _finding(
                    "SAGA208",
                    bits.step.reaction,
                    f"{bits.step.name} may refuse when the pivot {pivot} is passed already, and "
                    f"nobody can go back from there.",
                    f"Start {pivot} only after {bits.step.name} is done.",
                    explored.trace(state, move),
                )
                break


# --------------------------------------------------------------------------------- documents


def _never_there(explored: Explored) -> Iterator[Finding]:
    """A reaction that insists on a state, where a saga may end without there being one.

    Coming too early alone is no fault: the engine tries such a message again for a while.
    """
    model = explored.model
    for participant in model.choreography.participants:
        for reaction in participant.reactions():
            there = model.document(reaction)
            bits = next((each for each in model.steps if each.step.reaction is reaction), None)
            heard = model.mask(reaction.triggers, participant.name)
            heard |= bits.report if bits is not None else 0
            ends = (end.state for end in explored.ends if there)
            state = next((end for end in ends if end & heard and not end & there), None)
            if state is not None:
                names = listed([event_type(cls) for cls in reaction.triggers])
                model_name = reaction.kind.state.__name__
                yield _finding(
                    "SAGA306",
                    reaction,
                    f"{reaction.name} needs a {model_name}, and {names} may come where there "
                    f"never is one: the message becomes a dead letter.",
                    f"Take `{model_name} | None` and decide without it, or listen to something "
                    f"that only comes after it is written.",
                    explored.trace(state),
                )


def _finding(
    code: str, reaction: Reaction | None, message: str, advice: str, trace: tuple[Happening, ...]
) -> Finding:
    subject = "rule" if reaction is None else f"{reaction.kind.participant.name}.{reaction.name}"
    place = None if reaction is None else Place.of(reaction)
    return Finding(code, subject, place, message, advice, trace)
