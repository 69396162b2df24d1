"""How far one step of a saga has come, and what each kind of event adds to that.

Every function here keeps the earliest moment or collects into a set: whatever order events arrive
in, and however often, the progress comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sagas.tracker.timeline import Entry

__all__ = [
    "Meaning",
    "Progress",
    "asks_to_undo",
    "earlier",
    "keeps",
    "refuses",
    "refuses_to_undo",
    "reports_done",
    "reports_undone",
    "triggers",
]


@dataclass(slots=True)
class Progress:
    """What the events heard so far say about one step: moments, whatever their order of arrival."""

    triggered_at: float | None = None
    done_at: float | None = None
    refused_at: float | None = None
    undone_at: float | None = None
    kept: bool = False
    attempts: int = 0
    #: Requests to undo it (event id → when), and those that its undo refused.
    asked: dict[str, float] = field(default_factory=dict)
    declined: set[str | None] = field(default_factory=set)

    @property
    def asked_at(self) -> float | None:
        """Since when its undo is wanted, the requests that were refused left aside."""
        wanted = [at for id_, at in self.asked.items() if id_ not in self.declined]
        # A step that refused has nothing to undo: its participant ignores such requests.
        return min(wanted) if wanted and self.refused_at is None else None


#: Enters one event into the progress of one step.
Meaning = Callable[[Progress, Entry], None]


def earlier(known: float | None, moment: float) -> float:
    """The earlier of what is known so far and ``moment``."""
    return moment if known is None or moment < known else known


def triggers(step: Progress, entry: Entry) -> None:
    step.triggered_at = earlier(step.triggered_at, entry.time)


def reports_done(step: Progress, entry: Entry) -> None:
    step.done_at = earlier(step.done_at, entry.time)
    step.attempts = max(step.attempts, entry.attempt)


def refuses(step: Progress, entry: Entry) -> None:
    step.refused_at = earlier(step.refused_at, entry.time)
    step.attempts = max(step.attempts, entry.attempt)


def asks_to_undo(step: Progress, entry: Entry) -> None:
    step.asked[entry.id] = entry.time


def reports_undone(step: Progress, entry: Entry) -> None:
    step.undone_at = earlier(step.undone_at, entry.time)


def refuses_to_undo(step: Progress, entry: Entry) -> None:
    step.declined.add(entry.causation_id)


def keeps(step: Progress, entry: Entry) -> None:
    step.kept = True
