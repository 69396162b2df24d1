"""A close look at all events of one saga, when one of them is not simply in order.

Events are admitted one after the other, the well founded first (what they take is there, their
cause was heard), by their times. So it is the forged one that is found wrong, as far as that can be
told; and what is found is a function of the set of events, not of the order of their arrival.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final

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
ANSWERS: Final = {
    event_type(AttentionResolved): (event_type(AttentionNeeded), ("participant", "step")),
    event_type(DeadLetterResolved): (event_type(DeadLettered), ("dead_letter_id",)),
}
#: More violations of one saga say nothing new, and whoever forges events chooses their number.
MOST_TOLD: Final = 20


class Examination:
    """Finds the ``impossible`` and the ``unconfirmed`` events of one saga."""

    def __init__(
        self, possible: Possible, speakers: Speakers, reasons: Reasons, entries: Sequence[Entry]
    ) -> None:
        self._possible = possible
        self._speakers = speakers
        self._reasons = reasons
        self._timeline = in_order(entries)
        self._places = {entry.id: place for place, entry in enumerate(self._timeline)}
        self._by_id = {entry.id: entry for entry in entries}
        self._sayings: dict[str, Saying] = {}
        self._admitted: list[Entry] = []
        #: The bits of what is admitted.
        self._said = 0
        #: What is admitted, by what may come only so often.
        self._runs: dict[tuple[str | None, ...], list[Entry]] = defaultdict(list)
        #: Participant → bit → the first and the last such event by its sequence.
        self._spans: dict[str, dict[int, tuple[Entry, Entry]]] = defaultdict(dict)
        self.impossible: list[Violation] = []
        self._examine()
        self.impossible.sort(key=lambda found: self._places[found["event"]["event_id"]])
        self.unconfirmed = list(self._waiting())[:MOST_TOLD]

    def _examine(self) -> None:
        said = 0
        for entry in self._timeline:
            saying = self._speakers.of(entry)
            if saying is None:
                self._foreign(entry)
            elif not self._is_caused(entry, saying):
                self._wrong_cause(entry, saying)
            else:
                self._sayings[entry.id] = saying
                said |= saying.bit
        heard = [entry for entry in self._timeline if entry.id in self._sayings]
        grounded = self._possible.grounded(said)
        # Sorting leaves what is equally well founded in the order of time.
        for entry in sorted(heard, key=lambda entry: self._is_doubtful(entry, grounded)):
            saying = self._sayings[entry.id]
            if self._is_admitted(entry, saying):
                self._admit(entry, saying)

    def _wrong(self, code: str, rule: str, event: Entry, *against: Entry) -> None:
        if len(self.impossible) < MOST_TOLD:
            before = self._timeline[: self._places[event.id]]
            self.impossible.append(violation(code, rule, event, against, before))

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
        rightly = names(saying.public_causes, "or") or "nothing that others hear of"
        rule = f"{entry.type} is said on {rightly}, not on {named(cause.type)}."
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

    def _admit(self, entry: Entry, saying: Saying) -> None:
        self._admitted.append(entry)
        self._said |= saying.bit
        self._runs[_run(entry, saying)].append(entry)
        if _is_placed(entry, saying):
            spans = self._spans[entry.participant]
            first, last = spans.get(saying.bit, (entry, entry))
            spans[saying.bit] = (
                min(first, entry, key=lambda each: each.sequence),
                max(last, entry, key=lambda each: each.sequence),
            )

    def _is_said_again(self, entry: Entry, saying: Saying) -> bool:
        same = self._runs[_run(entry, saying)]
        who, what = entry.participant, entry.type
        if saying.decisions:
            # What one decision says has one cause.
            made = {other.causation_id if saying.repeats else other.id for other in same}
            if len(made) < saying.decisions or (saying.repeats and entry.causation_id in made):
                return False
            often = "once" if saying.decisions == 1 else f"{saying.decisions} times"
            rule = f"{who} says {what} {often} in a saga; this is another one."
        else:
            cause = entry.causation_id
            # A timer may be set again for the same moment.
            if not same or saying.repeats or cause is None or cause.startswith(TIMER):
                return False
            rule = f"{who} says {what} once on one cause; this is another one on the same."
        self._wrong("SAGA604", rule, entry, *same)
        return True

    def _conflicts(self, bit: int) -> list[Entry]:
        """The fewest admitted events that ``bit`` cannot stand beside, one of each type."""
        kinds = {self._sayings[entry.id].bit: entry for entry in reversed(self._admitted)}
        kinds.pop(0, None)
        together = self._possible.together
        if pairs := [entry for own, entry in kinds.items() if not together(own | bit)]:
            return sorted(pairs, key=lambda entry: self._places[entry.id])
        needed = self._said & ~bit
        for own in kinds:
            if not together(needed & ~own | bit):
                needed &= ~own
        found = [entry for own, entry in kinds.items() if own & needed]
        return sorted(found, key=lambda entry: self._places[entry.id])

    def _is_out_of_order(self, entry: Entry, saying: Saying) -> bool:
        """Whether its participant's document says that it came before, or after, what it cannot."""
        if not _is_placed(entry, saying):
            return False
        for bit, (first, last) in self._spans[entry.participant].items():
            precedes = self._possible.may_precede
            if first.sequence < entry.sequence and not precedes(bit, saying.bit):
                other, order = first, (first, entry)
            elif last.sequence > entry.sequence and not precedes(saying.bit, bit):
                other, order = last, (entry, last)
            else:
                continue
            before, after = order
            rule = (
                f"{entry.participant} never says {after.type} after {before.type}, but here it "
                f"did (sequence {after.sequence} after {before.sequence})."
            )
            self._wrong("SAGA609", rule, entry, other)
            return True
        return False

    # ------------------------------------------------------------------------------ unconfirmed

    def _waiting(self) -> Iterator[Violation]:
        grounded = self._possible.grounded(self._said)
        waiting = [entry for entry in self._admitted if self._lacks(entry, grounded)]
        known = {entry.id for entry in waiting}
        for entry in sorted(waiting, key=lambda entry: self._places[entry.id])[:MOST_TOLD]:
            # What came of an unconfirmed event waits with it.
            if entry.causation_id not in known:
                before = self._timeline[: self._places[entry.id]]
                yield violation(CAUSE_MISSING, self._told(entry), entry, (), before)

    def _lacks(self, entry: Entry, grounded: int) -> bool:
        saying = self._sayings[entry.id]
        if saying.bit & ~grounded or saying.waits_for(entry, self._by_id):
            return True
        return not self._settles(entry)

    def _told(self, entry: Entry) -> str:
        if not self._settles(entry):
            return f"{entry.type} has come without the {ANSWERS[entry.type][0]} that it settles."
        saying = self._sayings[entry.id]
        parts = []
        if saying.waits_for(entry, self._by_id):
            causes = names(saying.public_causes, "or")
            parts.append(f"its cause ({causes} {named(entry.causation_id or '')})")
        lacking = self._possible.lacking(self._said, saying.bit) if saying.bit else 0
        parts += [
            type_
            for type_, bit in self._possible.bits.items()
            if bit & lacking and not (parts and type_ in saying.public_causes)
        ]
        return f"{entry.type} has come without what it takes: {listed(parts, 'and')}."

    def _settles(self, entry: Entry) -> bool:
        """Whether the trouble that it settles, if it does, was heard of."""
        answer = ANSWERS.get(entry.type)
        return answer is None or _trouble(answer[0], entry, answer[1]) in self._troubles

    @cached_property
    def _troubles(self) -> set[tuple[object, ...]]:
        return {
            _trouble(type_, entry, fields)
            for type_, fields in ANSWERS.values()
            for entry in self._timeline
            if entry.type == type_
        }


def _run(entry: Entry, saying: Saying) -> tuple[str | None, ...]:
    """What may come only so often: of one participant in the saga, or on one cause."""
    if saying.decisions:
        return (entry.participant, entry.type)
    return (entry.participant, entry.type, entry.causation_id)


def _is_placed(entry: Entry, saying: Saying) -> bool:
    """Whether its sequence tells something; other programs may send none."""
    return saying.ordered and bool(saying.bit) and entry.sequence > 0


def _trouble(type_: str, entry: Entry, fields: Sequence[str]) -> tuple[object, ...]:
    said = orjson.loads(entry.data)
    return (type_, *(str(said.get(name)) for name in fields))
