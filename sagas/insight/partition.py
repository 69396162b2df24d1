"""The reducers at work on one partition, whatever its tables are kept in."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Final

from sagas.envelope import Message
from sagas.insight.business import Business
from sagas.insight.ends import ENDED_KEPT_S, Ends, kept_until
from sagas.insight.marks import MINUTE_S
from sagas.insight.records import Skipped
from sagas.insight.rows import Row, row_of
from sagas.insight.states import Advance, MinuteState, SagaState, advance
from sagas.insight.sums import KEPT_S, Sums, add, sums_of
from sagas.tracker import Plan, SagaView, confirm_by, review
from sagas.tracker.violations import Violation, line

__all__ = ["Minutes", "Partition", "Tables"]

log = logging.getLogger(__name__)

#: Sagas of one partition that go on, and others that are still kept. The first ones are let go of.
MOST_OPEN = 300_000
MOST_ENDED: Final = 300_000
#: A saga's state must fit into a record of its changelog: Kafka takes a MiB.
MOST_STATE_BYTES: Final = 512 * 1024
TOLERANCE_S: Final = 0.001

Sagas = MutableMapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Tables:
    """Where states are kept: sagas by id, minutes of this partition by their beginning."""

    sagas: Sagas
    write_minute: Callable[[int, bytes], None]
    drop_minute: Callable[[int], None]


Minutes = dict[int, MinuteState]


class Partition:
    """Folds the events of one partition, in the order of their places.

    Everything beside the tables is an index of what they hold: ``restore`` makes it anew.
    """

    def __init__(self, number: int, tables: Tables, plan: Plan, business: Business) -> None:
        self.number = number
        self._tables = tables
        self._plan = plan
        self._business = business
        self._minutes: Minutes = {}
        #: Open sagas alone.
        self._rows: dict[str, Row] = {}
        #: Sagas with events that lack their cause → when that will be a violation.
        self._doubts: dict[str, float] = {}
        self._ends = Ends(MOST_ENDED)
        self._newest = 0.0
        self.events = 0
        self.repeats = 0
        self.forgotten = 0
        self.violations = 0

    def restore(
        self, sagas: Iterable[tuple[str, SagaState]], minutes: Iterable[tuple[int, MinuteState]]
    ) -> None:
        """Begin with what the tables hold."""
        self._minutes = dict(minutes)
        for saga_id, state in sorted(sagas, key=lambda pair: pair[1].view.started_at or 0.0):
            self._note(saga_id, state.view)
            last = max(entry.time for entry in state.view.entries)
            self._newest = max(self._newest, last)
            self._ends.set(saga_id, kept_until(state.view))

    def hear(self, message: Message, facts: str, place: int, now: float) -> None:
        """One event of a saga. Told again at the same place, it changes nothing more.

        Raises ``Skipped`` for one that cannot be folded: then nothing has changed.
        """
        saga_id = message.saga_id
        assert saga_id is not None
        raw = self._tables.sagas.get(saga_id)
        if raw is None and message.time < self._newest - ENDED_KEPT_S:
            self.forgotten += 1
            return
        found = self._advanced(raw, message, facts, place, now)
        written = found.state.to_bytes() if raw is None or found.is_new else raw
        if found.is_new and len(written) > MOST_STATE_BYTES:
            raise Skipped("saga_too_long", f"saga {saga_id!r} would have {len(written)} bytes")
        for minute, change in found.changes.items():
            self._count(minute, change, place, found.is_again)
        if found.is_new or found.is_again:
            # Again, too: what a worker has on its own disk may be ahead of the changelog.
            self._tables.sagas[saga_id] = written
        if not found.is_new:
            self.repeats += 1
            return
        self.events += 1
        self._newest = max(self._newest, message.time)
        view = found.state.view
        self._report(saga_id, view)
        self._note(saga_id, view)
        self._ends.set(saga_id, kept_until(view))
        self._forget()

    def _advanced(
        self, raw: bytes | None, message: Message, facts: str, place: int, now: float
    ) -> Advance:
        try:
            before = None if raw is None else SagaState.from_bytes(raw)
            return advance(
                before, message, facts, self.number, place, self._plan, self._business, now
            )
        except Exception as error:
            # A bug, but one event must not stop all that stand behind it.
            log.exception("event %s of saga %s cannot be folded", message.id, message.saga_id)
            raise Skipped("unfoldable", f"it cannot be folded ({error!r})") from error

    def look(self, now: float) -> None:
        """Report what has waited too long for its cause."""
        for saga_id in [each for each, due in self._doubts.items() if due <= now]:
            raw = self._tables.sagas.get(saga_id)
            if raw is None:
                del self._doubts[saga_id]
                continue
            seen = review(SagaState.from_bytes(raw).view, self._plan, now + TOLERANCE_S)
            self._report(saga_id, seen)
            self._note(saga_id, seen, now)
            self._ends.set(saga_id, kept_until(seen))

    def sums(self, now: float) -> Sums:
        self.look(now)
        minutes = ((minute, state.counts) for minute, state in self._minutes.items())
        return sums_of(self._rows.items(), minutes, now)

    def _count(self, minute: int, change: dict[str, int], place: int, is_again: bool) -> None:
        known = self._minutes.get(minute)
        if known is not None and known.at >= place:
            # Counted before the crash that this delivery is repeated after; see ``hear``.
            if is_again:
                self._tables.write_minute(minute, known.to_bytes())
            return
        counts = {} if known is None else dict(known.counts)
        add(counts, change)
        state = self._minutes[minute] = MinuteState(place, counts)
        self._tables.write_minute(minute, state.to_bytes())

    def _note(self, saga_id: str, view: SagaView, now: float = 0.0) -> None:
        row = row_of(view, self._plan, self._business)
        if row is not None and row.is_open:
            self._rows[saga_id] = row
        else:
            self._rows.pop(saga_id, None)
        due = confirm_by(view, self._plan, now)
        if due is None:
            self._doubts.pop(saga_id, None)
        else:
            self._doubts[saga_id] = due

    def _report(self, saga_id: str, view: SagaView) -> None:
        row = self._rows.get(saga_id)
        known = {_identity(each) for each in row.violations} if row is not None else set()
        for each in view.violations:
            if _identity(each) not in known:
                self.violations += 1
                log.error("%s", line(saga_id, each))

    def _forget(self) -> None:
        for saga_id in self._ends.due(self._newest):
            self._drop(saga_id)
        while len(self._rows) > MOST_OPEN:
            self.forgotten += 1
            self._drop(next(iter(self._rows)))
        if len(self._minutes) > KEPT_S // MINUTE_S:
            for minute in sorted(self._minutes)[: -(KEPT_S // MINUTE_S)]:
                del self._minutes[minute]
                self._tables.drop_minute(minute)

    def _drop(self, saga_id: str) -> None:
        self._tables.sagas.pop(saga_id, None)
        self._rows.pop(saga_id, None)
        self._doubts.pop(saga_id, None)

    def figures(self) -> Iterator[tuple[str, int]]:
        """For metrics."""
        yield "events", self.events
        yield "repeats", self.repeats
        yield "forgotten", self.forgotten
        yield "violations", self.violations
        yield "open_sagas", len(self._rows)


def _identity(found: Violation) -> tuple[str, str]:
    return (found["code"], found["event"]["event_id"])
