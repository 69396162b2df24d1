"""Holds the events of a saga against what its choreography allows, whatever order they arrive in.

    judge(entries, in_order_before) -> Judgement

A plain function of the events heard so far. *Impossible* is what no order of arrival allows:
nothing that may still come can mend it. *Unconfirmed* is what only lacks its cause so far.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Final, NamedTuple

from sagas.flow import Choreography
from sagas.tracker.examination import ANSWERS, Examination
from sagas.tracker.possible import MAX_STATES, possible_in
from sagas.tracker.reasons import Reasons
from sagas.tracker.speakers import Speakers
from sagas.tracker.timeline import Entry
from sagas.tracker.violations import Violation

__all__ = ["IN_ORDER", "Conformance", "Judgement"]

#: Answers that are kept: few sets of events ever come, but forged ones could make up any number.
MOST_KEPT: Final = 4_096


class Judgement(NamedTuple):
    """What is wrong with the events of one saga, violation by violation."""

    impossible: tuple[Violation, ...] = ()
    unconfirmed: tuple[Violation, ...] = ()


IN_ORDER: Final = Judgement()


class Conformance:
    """Judges the sagas of one choreography. Made once: it explores all that may happen.

    Beyond ``max_states`` states only what the declarations say by themselves is checked.
    """

    def __init__(self, choreography: Choreography, *, max_states: int = MAX_STATES) -> None:
        self._possible = possible_in(choreography, max_states)
        self._speakers = Speakers(choreography, self._possible.bits)
        self._reasons = Reasons(choreography)
        self._suspects = self._orders()
        self._whole: dict[int, bool] = {}

    def judge(self, entries: Sequence[Entry], in_order_before: bool = False) -> Judgement:
        """Judge a saga by all its events, in any order, each once.

        ``in_order_before``: without the last of them it was judged ``IN_ORDER``. That is most of
        what arrives, and then a few look-ups are enough.
        """
        if in_order_before and self._is_in_order(entries):
            return IN_ORDER
        found = Examination(self._possible, self._speakers, self._reasons, entries)
        if not found.impossible and not found.unconfirmed:
            return IN_ORDER
        return Judgement(tuple(found.impossible), tuple(found.unconfirmed))

    def _is_in_order(self, entries: Sequence[Entry]) -> bool:
        """Whether the last event is in order beside the others; ``False``: look closely."""
        *before, last = entries
        saying = self._speakers.of(last)
        if saying is None or last.type in ANSWERS:
            return False
        bits, foreign = self._speakers.bits, self._speakers.foreign_bits
        bit, cause = saying.bit, last.causation_id
        suspects = self._suspects.get(bit, 0)
        caused_by, said = None, 0
        for entry in before:
            if entry.id == cause:
                caused_by = entry.type
            other = bits.get((entry.participant, entry.type))
            if other is None:
                other = foreign.get(entry.type, 0)
            said |= other
            if other & suspects and self._is_out_of_order(last, bit, entry, other):
                return False
        if saying.causes is not None and caused_by not in saying.causes:
            return False
        return not bit or (not said & bit and self._is_whole(said | bit))

    def _is_whole(self, said: int) -> bool:
        """Whether these are possible together, and nothing is missing before any of them."""
        known = self._whole.get(said)
        if known is None:
            if len(self._whole) >= MOST_KEPT:
                self._whole.clear()
            possible = self._possible
            known = possible.grounded(said) == said and possible.together(said)
            self._whole[said] = known
        return known

    def _is_out_of_order(self, last: Entry, bit: int, entry: Entry, other: int) -> bool:
        if last.participant != entry.participant or not last.sequence or not entry.sequence:
            return False
        if last.sequence > entry.sequence:
            return not self._possible.may_precede(other, bit)
        return last.sequence < entry.sequence and not self._possible.may_precede(bit, other)

    def _orders(self) -> dict[int, int]:
        """For each event those of its own participant that must stand on one side of it."""
        precede = self._possible.may_precede
        found: dict[int, int] = {}
        ordered = list(self._speakers.ordered())
        for (participant, bit), (neighbour, other) in permutations(ordered, 2):
            if participant == neighbour and not (precede(bit, other) and precede(other, bit)):
                found[bit] = found.get(bit, 0) | other
        return found
