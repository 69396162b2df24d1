"""What may be wrong with an event that arrived: stable codes, in words, with what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sagas.check.finding import listed
from sagas.envelope import rfc3339
from sagas.tracker.shapes import Violation, ViolationEvent
from sagas.tracker.timeline import Entry

__all__ = [
    "BREACHES",
    "CAUSE_MISSING",
    "Breach",
    "Violation",
    "line",
    "named",
    "names",
    "violation",
]

#: The last so many events before it are told with a violation.
LONGEST_TRACE: Final = 30
MOST_AGAINST: Final = 10
#: Names in forged events may be anything.
LONGEST_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule: its stable code, its name, and what to do when it is broken."""

    code: str
    name: str
    title: str
    advice: str


def _breaches(*rows: tuple[str, str, str, str]) -> dict[str, Breach]:
    return {row[0]: Breach(*row) for row in rows}


_FORGED = "Find out who published it."
_TWO_WAYS = (
    "One of them is not true: compare the participants' own documents with the trace, mend by hand "
    "what the wrong one led to, and find out who published it."
)

#: The codes continue those of ``sagas check``: the same model, held against what really arrives.
BREACHES: Final = _breaches(
    (
        "SAGA601",
        "undeclared-event",
        "No declaration names an event of this type.",
        "Declare it where it is said, start the tracker with the declarations that know it, or "
        "keep other programs from publishing under the ids of sagas.",
    ),
    (
        "SAGA602",
        "wrong-participant",
        "Its participant is not declared to say it.",
        f"{_FORGED} If it is right, declare it there.",
    ),
    (
        "SAGA603",
        "wrong-cause",
        "What it names as its cause never leads to it.",
        f"{_FORGED} If it is right, declare what triggers it.",
    ),
    (
        "SAGA604",
        "said-twice",
        "It is said once, and was said again under another id.",
        "Something ran twice: look whether its effect (a charge, a hold) happened twice, and "
        "whether its participant's store or inbox was lost or restored.",
    ),
    ("SAGA605", "two-outcomes", "One step, or its undo, has come to two outcomes.", _TWO_WAYS),
    ("SAGA606", "two-ends", "The saga has come to both of its ends.", _TWO_WAYS),
    (
        "SAGA607",
        "undone-past-the-pivot",
        "The pivot is passed, and something before it was undone that is not undone from there.",
        "Goods and money, say, may both be out: compare the participants' own documents, and mend "
        "by hand.",
    ),
    ("SAGA608", "never-together", "No saga says all of these.", _TWO_WAYS),
    (
        "SAGA609",
        "wrong-order",
        "Its participant said it after what ends the saga's way to it.",
        "A step ran behind its own undo, or a document was lost: look at the participant's "
        "document, and mend what the late one did.",
    ),
    (
        "SAGA610",
        "cause-missing",
        "What must come before it has not come within the waiting time.",
        "Look for the missing event in the outbox, the dead letters and the queue of the tracker; "
        f"it is withdrawn when that comes. {_FORGED}",
    ),
)
CAUSE_MISSING: Final = "SAGA610"


def violation(
    code: str, rule: str, event: Entry, against: Sequence[Entry], before: Sequence[Entry]
) -> Violation:
    """One violation. ``against``: what was heard that the event cannot stand beside; ``before``:
    all that happened before it."""
    breach = BREACHES[code]
    return {
        "code": code,
        "name": breach.name,
        "status": "unconfirmed" if code == CAUSE_MISSING else "impossible",
        "rule": rule,
        "advice": breach.advice,
        "event": _shown(event),
        "against": [_shown(each) for each in against[:MOST_AGAINST]],
        "trace": [_shown(each) for each in before[-LONGEST_TRACE:]],
    }


def _shown(entry: Entry) -> ViolationEvent:
    return {
        "event_id": entry.id,
        "type": entry.type,
        "participant": entry.participant,
        "occurred_at": rfc3339(entry.time),
        "causation_id": entry.causation_id,
    }


def line(saga_id: str, found: Violation) -> str:
    """A violation in one line of a log: what, where, the way so far, and what to do."""
    event = found["event"]
    way = " → ".join(
        f"{named(each['participant'])} {named(each['type'])}" for each in found["trace"]
    )
    return (
        f"saga {named(saga_id)} {found['code']} {found['name']} ({found['status']}): "
        f"{found['rule']} Event {named(event['event_id'])}, {named(event['type'])} from "
        f"{named(event['participant'])} at {event['occurred_at']}; so far: {way or 'nothing'}. "
        f"{found['advice']}"
    )


def named(text: str) -> str:
    """A name as it may stand in a log: printable, on one line, and short."""
    shown = "".join(each if each.isprintable() else "�" for each in text[:LONGEST_NAME])
    return shown if len(text) <= LONGEST_NAME else shown + "…"


def names(types: Sequence[str], word: str = "and") -> str:
    """Names of events, listed."""
    return listed([named(each) for each in types], word)
