"""What one saga may have said by any moment, as the abstract model of ``sagas check`` allows it.

A set of events is a number with a bit for each type. Orders of arrival do not come in: of what is
possible together, any part may have arrived so far.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Final, Protocol

from pydantic import BaseModel

from sagas.check.emissions import outcomes, refusing
from sagas.check.explore import Explored, TooManyStates, explore
from sagas.check.model import Model
from sagas.envelope import described, event_type
from sagas.flow import Choreography
from sagas.reaction import Reaction

__all__ = ["MAX_STATES", "Possible", "possible_in"]

log = logging.getLogger(__name__)

#: Explored within a second or two: a tracker starts with this.
MAX_STATES: Final = 30_000


class Possible(Protocol):
    """``bits`` gives the bit of each type of event; sets of events are numbers made of them."""

    bits: Mapping[str, int]

    def together(self, said: int) -> bool:
        """Whether some saga says all of these, and perhaps more, sooner or later."""
        ...

    def grounded(self, said: int) -> int:
        """Those of these events before which nothing had to be said that is not among them."""
        ...

    def lacking(self, said: int, bit: int) -> int:
        """The least, beside ``said``, that has to be said before or with the event ``bit``."""
        ...

    def may_precede(self, first: int, then: int) -> bool:
        """Whether the event ``then`` may still be said when ``first`` has been."""
        ...


def possible_in(choreography: Choreography, max_states: int = MAX_STATES) -> Possible:
    """Explores the choreography; beyond ``max_states`` only its declarations are looked at."""
    watched = [
        cls
        for reaction in _reactions(choreography)
        for cls in reaction.says
        if reaction.kind.by_saga and not described(cls).private
    ]
    try:
        model = Model(choreography, watched=watched, loose=True)
        return Reachable(model, explore(model, max_states))
    except TooManyStates:
        log.warning(
            "%s has more than %s states: its live events are held against its declarations, but "
            "not against all that its steps allow together",
            choreography.name,
            f"{max_states:,}",
        )
        return Declared(choreography, watched)


def _reactions(choreography: Choreography) -> Iterable[Reaction]:
    return (each for participant in choreography.participants for each in participant.reactions())


class Reachable:
    """Every state of the model is known, and with it what was said on the ways to it."""

    def __init__(self, model: Model, explored: Explored) -> None:
        self.bits: Mapping[str, int] = {
            event_type(cls): model.events[topic]
            for topic, cls in model.flow.topics.items()
            if not described(cls).private
        }
        heard = model.any_of(self.bits.values())
        #: Each set of events that is all that was said by some moment; the least first.
        self._moments = sorted({state & heard for state in explored.states}, key=_by_size)
        self._whole = _largest(self._moments)
        self._before = _before(model, explored, heard)

    def together(self, said: int) -> bool:
        return any(not said & ~whole for whole in self._whole)

    def grounded(self, said: int) -> int:
        found = 0
        for moment in self._moments:
            if not moment & ~said:
                found |= moment
        return found

    def lacking(self, said: int, bit: int) -> int:
        ways = [
            moment & ~said
            for moment in self._moments
            if moment & bit and self.together(said | moment)
        ]
        return min(ways, key=_by_size, default=0)

    def may_precede(self, first: int, then: int) -> bool:
        return bool(self._before.get(then, 0) & first)


class Declared:
    """Nothing was explored: only the outcomes of one step are known to exclude each other."""

    def __init__(self, choreography: Choreography, watched: Sequence[type[BaseModel]]) -> None:
        names = sorted({event_type(cls) for cls in watched})
        self.bits: Mapping[str, int] = {name: 1 << place for place, name in enumerate(names)}
        self._apart = [
            self._set(pair)
            for reaction in _reactions(choreography)
            if reaction.step is not None and reaction is reaction.step.reaction
            for pair in _apart(reaction, choreography)
        ]

    def _set(self, names: Iterable[str]) -> int:
        return sum(self.bits.get(name, 0) for name in names)

    def together(self, said: int) -> bool:
        return not any(said & pair == pair for pair in self._apart)

    def grounded(self, said: int) -> int:
        return said

    def lacking(self, said: int, bit: int) -> int:
        return 0

    def may_precede(self, first: int, then: int) -> bool:
        return True


def _apart(reaction: Reaction, choreography: Choreography) -> Iterable[tuple[str, str]]:
    """Pairs of events of which one step says at most one, and nobody else says either."""
    ways = [
        {event_type(cls) for cls in way}
        for way in (*outcomes(reaction, loose=True), *refusing(reaction, loose=True))
    ]
    others = {
        event_type(cls)
        for other in _reactions(choreography)
        if other is not reaction
        for cls in other.says
    }
    for pair in combinations(sorted(set().union(*ways) - others), 2):
        if not any(way.issuperset(pair) for way in ways):
            yield pair


def _by_size(said: int) -> tuple[int, int]:
    return (said.bit_count(), said)


def _largest(moments: Sequence[int]) -> list[int]:
    """The sets that are part of no other; ``moments`` ascend."""
    found: list[int] = []
    for moment in reversed(moments):
        if not any(not moment & ~whole for whole in found):
            found.append(moment)
    return found


def _before(model: Model, explored: Explored, heard: int) -> dict[int, int]:
    """For each event all that may have been said when it is, be it said again."""
    found: dict[int, int] = {}
    # Plain tuples, as in `explore`: every move is tried in every state.
    moves = [
        (move.forbids, move.needs, move.sets & heard) for move in model.moves if move.sets & heard
    ]
    for state in explored.states:
        for forbids, needs, said in moves:
            if state & forbids or not all(state & need for need in needs):
                continue
            found[said] = found.get(said, 0) | state & heard
    # Of what one decision says together, none is known to be first.
    each: dict[int, int] = {}
    for said, before in found.items():
        for bit in _bits(said):
            each[bit] = each.get(bit, 0) | before | said
    return each


def _bits(said: int) -> Iterable[int]:
    while said:
        bit = said & -said
        yield bit
        said ^= bit
