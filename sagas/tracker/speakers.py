"""Who may say what in one saga, on what cause and how often: tables made from the declarations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from sagas.check.emissions import may_repeat
from sagas.envelope import Command, described, event_type
from sagas.events import ENGINE_EVENTS, origin
from sagas.flow import Choreography
from sagas.reaction import Reaction, ReactionKind
from sagas.tracker.timeline import Entry

__all__ = ["Saying", "Speakers"]

#: Stands for causes that only a participant itself knows: commands, timers, private reports.
UNHEARD: Final = None


@dataclass(frozen=True, slots=True)
class Saying:
    """How one participant may say one type of event."""

    #: Its bit in what is possible together; 0: anything is possible with it.
    bit: int
    #: The types of what may cause it, ``UNHEARD`` among them; ``None``: the declarations are mute.
    causes: frozenset[str | None] | None = None
    #: In how many decisions of one saga it may be said; 0: in any number.
    decisions: int = 0
    #: Whether one decision, or one cause, may lead to several of them.
    repeats: bool = True
    #: Whether its sequence tells where it stands among what else its participant said.
    ordered: bool = False

    def waits_for(self, entry: Entry, heard: Mapping[str, object]) -> bool:
        """Whether it names a cause that everybody hears of, and that has not been heard."""
        return (
            self.has_public_cause and bool(entry.causation_id) and entry.causation_id not in heard
        )

    @property
    def has_public_cause(self) -> bool:
        """Whether everybody hears of whatever may cause it."""
        return self.causes is not None and UNHEARD not in self.causes

    @property
    def public_causes(self) -> list[str]:
        return sorted(type_ for type_ in self.causes or () if type_ is not None)


class Speakers:
    """Looks up how an event may be said; ``bits`` are those of the types that depend on others."""

    def __init__(self, choreography: Choreography, bits: Mapping[str, int]) -> None:
        #: Who is declared to say a type, in the order of the flow.
        self.speakers: dict[str, list[str]] = {}
        self._said: dict[tuple[str, str], Saying] = {}
        self._by_anyone: dict[str, Saying] = {}
        for (participant, type_), reactions in _reactions(choreography).items():
            self._said[participant, type_] = _saying(type_, reactions, bits)
            self.speakers.setdefault(type_, []).append(participant)
        for cls in _heard(choreography):
            type_ = event_type(cls)
            if type_ not in self.speakers:
                bit = 0 if origin(cls) is None else bits.get(type_, 0)
                self._by_anyone[type_] = Saying(bit)
        #: The bits alone, by participant and type, and by type for what anyone may say.
        self.bits = {pair: saying.bit for pair, saying in self._said.items()}
        self.foreign_bits = {type_: saying.bit for type_, saying in self._by_anyone.items()}

    def of(self, entry: Entry) -> Saying | None:
        """How this participant may say this; ``None``: it may not."""
        return self._said.get((entry.participant, entry.type)) or self._by_anyone.get(entry.type)

    def ordered(self) -> Iterator[tuple[str, int]]:
        """Participants with the bits of what their sequences put in order."""
        for (participant, _), saying in self._said.items():
            if saying.ordered and saying.bit:
                yield participant, saying.bit


def _reactions(choreography: Choreography) -> dict[tuple[str, str], list[Reaction]]:
    """Who says what by which reactions."""
    found: dict[tuple[str, str], list[Reaction]] = {}
    for participant in choreography.participants:
        for reaction in participant.reactions():
            for cls in reaction.says:
                if not described(cls).private:
                    found.setdefault((participant.name, event_type(cls)), []).append(reaction)
    return found


def _heard(choreography: Choreography) -> Iterator[type[BaseModel]]:
    """What comes from no participant, perhaps: triggers, ends, and the engine's own."""
    yield from ENGINE_EVENTS
    for cls in (*choreography.completed_by, *choreography.compensated_by):
        yield cls
    for participant in choreography.participants:
        for reaction in participant.reactions():
            for cls in reaction.triggers:
                if not issubclass(cls, Command) and not described(cls).private:
                    yield cls


def _saying(type_: str, reactions: Sequence[Reaction], bits: Mapping[str, int]) -> Saying:
    by_saga = all(reaction.kind.by_saga for reaction in reactions)
    once = all(_is_said_once(reaction, type_) for reaction in reactions)
    return Saying(
        bit=bits.get(type_, 0),
        # What side documents hear need not be of this saga.
        causes=frozenset(_causes(reactions)) if by_saga else None,
        decisions=len(reactions) if by_saga and once else 0,
        repeats=any(_repeats(reaction) for reaction in reactions),
        ordered=all(
            reaction.kind.by_saga and reaction.kind is reaction.kind.participant.saga
            for reaction in reactions
        ),
    )


def _is_said_once(reaction: Reaction, type_: str) -> bool:
    """A step comes to one end, and so does its undo; an undo that refuses may be asked again."""
    if reaction.role is ReactionKind.UNDO:
        return type_ not in map(event_type, reaction.refuses)
    return reaction.role is ReactionKind.STEP


def _repeats(reaction: Reaction) -> bool:
    if reaction.kind.dedupe != "inbox" or may_repeat(reaction):
        return True
    return reaction.spent is not None and may_repeat(reaction.spent)


def _causes(reactions: Sequence[Reaction]) -> Iterator[str | None]:
    for reaction in reactions:
        if not reaction.triggers:
            yield UNHEARD
        for cls in reaction.triggers:
            unheard = issubclass(cls, Command) or described(cls).private
            yield UNHEARD if unheard else event_type(cls)
