"""A close look at all events of one saga, when one of them is not simply in order.

Events are admitted one after the other, the well founded first (what it takes is there, its cause
was heard), by their times: so it is the forged one that is found wrong, as far as that can be told,
and the result is a function of the set of events alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import orjson

from sagas.check.finding import listed
from sagas.envelope import event_type
from sagas.events import AttentionNeeded, AttentionResolved, DeadLettered, DeadLetterResolved
from sagas.intake import TIMER
from sagas.tracker.possible import Possible
from sagas.tracker.reasons import Reasons
from sagas.tracker.speakers import Saying, Speakers
from sagas.tracker.timeline import Entry, in_order
from sagas.tracker.violations import CAUSE_MISSING, Violation, named, names, violation

__all__ = ["ANSWERS", "Examination"]

#: What settles trouble, with what it settles, and by which fields the two belong together.
ANSWERS = {
    event_type(AttentionResolved): (event_type(AttentionNeeded), ("participant", "step")),
    event_type(DeadLetterResolved): (event_type(DeadLettered), ("dead_letter_id",)),
}


class Examination:
    """Finds the ``impossible`` and the ``unconfirmed`` events of one saga."""

    def __init__(
        self, possible: Possible, speakers: Speakers, reasons: Reasons, entries: Sequence[Entry]
    ) -> None:
        self._possible = possible
        self._speakers = speakers
        self._reasons = reasons
        self._timeline = in_order(entries)
        self._by_id = {entry.id: entry for entry in entries}
        self._sayings: dict[str, Saying] = {}
        self._admitted: list[Entry] = []
        #: The bits of what is admitted.
        self._said = 0
        self.impossible: list[Violation] = []
        self._examine()
        places = {entry.id: place for place, entry in enumerate(self._timeline)}
        self.impossible.sort(key=lambda found: places[found["event"]["event_id"]])
        self.unconfirmed = list(self._waiting())

    def _examine(self) -> None:
        for entry in self._timeline:
            saying = self._speakers.of(entry)
            if saying is None:
                self._foreign(entry)
            elif not self._is_caused(entry, saying):
                self._wrong_cause(entry, saying)
            else:
                self._sayings[entry.id] = saying
        heard = [entry for entry in self._timeline if entry.id in self._sayings]
        said = 0
        for entry in heard:
            said |= self._sayings[entry.id].bit
        grounded = self._possible.grounded(said)
        # Sorting keeps the order of what is equally well founded.
        for entry in sorted(heard, key=lambda entry: self._is_doubtful(entry, grounded)):
            if self._is_admitted(entry, self._sayings[entry.id]):
                self._admitted.append(entry)
                self._said |= self._sayings[entry.id].bit

    def _wrong(self, code: str, rule: str, event: Entry, *against: Entry) -> None:
        self.impossible.append(violation(code, rule, event, against, self._timeline))

    # ----------------------------------------------------------------------- by the declarations

    def _foreign(self, entry: Entry) -> None:
        speakers = self._speakers.speakers.get(entry.type)
        who, what = named(entry.participant), named(entry.type)
        if speakers is None:
            self._wrong("SAGA601", f"Nothing in the choreography says {what}.", entry)
        else:
            says = names(speakers, "or")
            self._wrong("SAGA602", f"{what} is said by {says}, not by {who}.", entry)

    def _is_caused(self, entry: Entry, saying: Saying) -> bool:
        cause = self._by_id.get(entry.causation_id or "")
        return cause is None or saying.causes is None or cause.type in saying.causes

    def _wrong_cause(self, entry: Entry, saying: Saying) -> None:
        cause = self._by_id[entry.causation_id or ""]
        causes = sorted(type_ for type_ in saying.causes or () if type_ is not None)
        rightly = f"on {names(causes, 'or')}" if causes else "on nothing that others hear of"
        rule = f"{entry.type} is said {rightly}, not on {named(cause.type)}."
        self._wrong("SAGA603", rule, entry, cause)

    # --------------------------------------------------------------------------- beside the others

    def _is_doubtful(self, entry: Entry, grounded: int) -> bool:
        saying = self._sayings[entry.id]
        known = entry.causation_id in self._by_id
        return bool(saying.bit & ~grounded) or (saying.has_public_cause and not known)

    def _is_admitted(self, entry: Entry, saying: Saying) -> bool:
        if self._is_said_again(entry, saying):
            return False
        if saying.bit and not self._possible.together(self._said | saying.bit):
            against = self._conflicts(saying.bit)
            code, rule = self._reasons.why(entry, against)
            self._wrong(code, rule, entry, *against)
            return False
        return not self._is_out_of_order(entry, saying)

    def _is_said_again(self, entry: Entry, saying: Saying) -> bool:
        same = [
            other
            for other in self._admitted
            if (other.participant, other.type) == (entry.participant, entry.type)
        ]
        who, what = entry.participant, entry.type
        if saying.decisions:
            # Those of one decision share their cause.
            made = {other.causation_id if saying.repeats else other.id for other in same}
            mine = entry.causation_id if saying.repeats else entry.id
            if mine in made or len(made) < saying.decisions:
                return False
            often = "once" if saying.decisions == 1 else f"{saying.decisions} times"
            rule = f"{who} says {what} {often} in a saga; this is another one."
        else:
            cause = entry.causation_id
            if saying.repeats or cause is None or cause.startswith(TIMER):
                return False
            same = [other for other in same if other.causation_id == cause]
            if not same:
                return False
            rule = f"{who} says {what} once on one cause; this is another one on the same."
        self._wrong("SAGA604", rule, entry, *same)
        return True

    def _conflicts(self, bit: int) -> list[Entry]:
        """The fewest admitted events that ``bit`` cannot stand beside."""
        pairs = [
            entry
            for entry in self._admitted
            if (own := self._sayings[entry.id].bit) and not self._possible.together(own | bit)
        ]
        if pairs:
            return pairs
        needed = [entry for entry in self._admitted if self._sayings[entry.id].bit]
        for entry in list(needed):
            fewer = [other for other in needed if other is not entry]
            said = bit
            for other in fewer:
                said |= self._sayings[other.id].bit
            if not self._possible.together(said):
                needed = fewer
        return needed

    def _is_out_of_order(self, entry: Entry, saying: Saying) -> bool:
        for other in self._admitted:
            order = self._order(entry, other)
            if order is None:
                continue
            first, then = order
            bits = (self._sayings[first.id].bit, self._sayings[then.id].bit)
            if not self._possible.may_precede(*bits):
                rule = (
                    f"{entry.participant} never says {then.type} after {first.type}, but here it "
                    f"did (sequence {then.sequence} after {first.sequence})."
                )
                self._wrong("SAGA609", rule, entry, other)
                return True
        return False

    def _order(self, entry: Entry, other: Entry) -> tuple[Entry, Entry] | None:
        """Both in the order in which their participant's document says that they happened."""
        if entry.participant != other.participant or not entry.sequence or not other.sequence:
            return None
        for each in (entry, other):
            saying = self._sayings[each.id]
            if not saying.ordered or not saying.bit:
                return None
        if entry.sequence == other.sequence:
            return None
        return (entry, other) if entry.sequence < other.sequence else (other, entry)

    # ------------------------------------------------------------------------------ unconfirmed

    def _waiting(self) -> Iterator[Violation]:
        grounded = self._possible.grounded(self._said)
        waiting = [entry for entry in self._admitted if self._lacks(entry, grounded)]
        known = {entry.id for entry in waiting}
        for entry in waiting:
            # What came of an unconfirmed event waits with it.
            if entry.causation_id not in known:
                rule = self._told(entry)
                yield violation(CAUSE_MISSING, rule, entry, (), self._timeline)

    def _lacks(self, entry: Entry, grounded: int) -> bool:
        saying = self._sayings[entry.id]
        if saying.bit & ~grounded or saying.waits_for(entry, self._by_id):
            return True
        return entry.type in ANSWERS and not self._answers(entry)

    def _told(self, entry: Entry) -> str:
        if entry.type in ANSWERS and not self._answers(entry):
            return f"{entry.type} has come without the {ANSWERS[entry.type][0]} that it settles."
        saying = self._sayings[entry.id]
        causes = sorted(type_ for type_ in saying.causes or () if type_ is not None)
        parts = []
        if saying.waits_for(entry, self._by_id):
            parts.append(f"its cause ({names(causes, 'or')} {named(entry.causation_id or '')})")
        lacking = self._possible.lacking(self._said, saying.bit) if saying.bit else 0
        parts += [
            type_
            for type_, bit in self._possible.bits.items()
            if bit & lacking and not (parts and type_ in causes)
        ]
        return f"{entry.type} has come without what it takes: {listed(parts, 'and')}."

    def _answers(self, entry: Entry) -> bool:
        settled, fields = ANSWERS[entry.type]
        wanted = _fields(entry, fields)
        return any(
            other.type == settled and _fields(other, fields) == wanted for other in self._timeline
        )


def _fields(entry: Entry, names: Sequence[str]) -> list[object]:
    said = orjson.loads(entry.data)
    return [said.get(name) for name in names]
