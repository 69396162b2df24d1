"""One saga as a table keeps it, and one event more: exactly once, however often it is delivered.

    advance(state | None, message, facts, place, …) -> Advance

``place`` is where the event stands in its partition (its offset). The state remembers at which
place each of its events was counted. So an event that comes again at *another* place is a duplicate
and changes nothing; at the *same* place it is the same delivery once more, after a crash: what it
adds to the windows is then told again, for whichever windows were not written before the crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import orjson

from sagas.envelope import Message
from sagas.insight.business import Business
from sagas.insight.marks import Marks, between, marks_of
from sagas.tracker import Plan, SagaView, fold

__all__ = ["Advance", "MinuteState", "SagaState", "advance"]


@dataclass(frozen=True, slots=True)
class SagaState:
    """A view, and the places of its entries. ``partition``: a worker holds several."""

    partition: int
    view: SagaView
    places: tuple[int, ...]

    def to_bytes(self) -> bytes:
        places = orjson.dumps(self.places)
        view = self.view.model_dump_json().encode()
        return b'{"partition":%d,"places":%b,"view":%b}' % (self.partition, places, view)

    @classmethod
    def from_bytes(cls, raw: bytes) -> SagaState:
        known = orjson.loads(raw)
        view = SagaView.model_validate(known["view"])
        return cls(known["partition"], view, tuple(known["places"]))


class MinuteState(NamedTuple):
    """The counts of a minute in one partition, with all events up to the place ``at``."""

    at: int
    counts: dict[str, int]

    def to_bytes(self) -> bytes:
        return orjson.dumps((self.at, self.counts))

    @classmethod
    def from_bytes(cls, raw: bytes) -> MinuteState:
        return cls(*orjson.loads(raw))


class Advance(NamedTuple):
    """What an event made of a saga. ``changes`` are for minutes that are behind its place.

    ``is_new``: not heard before; ``is_again``: heard at this very place, before a crash.
    """

    state: SagaState
    changes: Marks
    is_new: bool
    is_again: bool = False


def advance(
    state: SagaState | None,
    message: Message,
    facts: str,
    partition: int,
    place: int,
    plan: Plan,
    business: Business,
    now: float,
) -> Advance:
    """The saga with ``message``, which stands at ``place`` of ``partition``, in it."""
    before = None if state is None else state.view
    number = _number_of(message.id, state)
    if state is not None and number is not None:
        same = state.places[number] == place
        changes = _marks(state.view, number, plan, business) if same else {}
        return Advance(state, changes, False, same)
    view = fold(before, message, plan, now, facts)
    places = () if state is None else state.places
    after = SagaState(partition, view, (*places, place))
    return Advance(after, _marks(view, len(places), plan, business), True)


def _number_of(id_: str, state: SagaState | None) -> int | None:
    if state is None:
        return None
    return next((n for n, entry in enumerate(state.view.entries) if entry.id == id_), None)


def _marks(view: SagaView, number: int, plan: Plan, business: Business) -> Marks:
    """What the entry with this number changed, as it arrived."""
    entries = view.entries
    return between(
        marks_of(entries[:number], plan, business), marks_of(entries[: number + 1], plan, business)
    )
