"""The tracker of one choreography: its two participants at work, and what may be asked of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from sagas.errors import CommandRefused
from sagas.flow import Choreography
from sagas.outages import patiently
from sagas.participant import Participant
from sagas.ports import Broker, Clock, Ids, Query, Record, Scalar, Store
from sagas.runner import Runner
from sagas.tracker.dead_letters import (
    DeadLetterView,
    DiscardDeadLetter,
    ReplayDeadLetter,
    dead_letter_resource,
    dead_letters_of,
)
from sagas.tracker.following import CancelSaga, tracker_of
from sagas.tracker.plan import CAUSE_WAIT_S, ReadFacts, plan_of
from sagas.tracker.resources import event_resource, saga_resource
from sagas.tracker.shapes import DeadLetter, ListedSaga, SagaEvent
from sagas.tracker.timeline import Entry
from sagas.tracker.view import SagaView
from sagas.tracker.violations import BREACHES
from sagas.watchers import pauses

__all__ = ["Tracker"]

BULK_PAGE = 100
#: A saga whose id is younger may have begun before its first event was heard here; whoever asks for
#: it waits a moment. Ids are UUIDv7: their first 48 bits are milliseconds.
YOUNG_S = 10.0
PATIENCE_S = 2.0
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: Moments are shown in whole microseconds: a saga is also found "since" its start as shown.
SHOWN_S = 1e-6

Found = list[tuple[Record, Any]]


class Tracker:
    """Follows every saga of ``choreography`` and knows every dead letter.

    Both participants share ``store``. Declare the queues before ``start``:
    ``broker.open(choreography.queues(*tracker.participants))``. Each event is held against what the
    choreography allows; ``cause_wait_s`` is how long one may lack its cause before that is
    reported. ``read_facts`` keeps something of raw events beside their redacted data. ``alone`` and
    ``keep_sent_s`` are as for ``Runner``. The runners' ``failed`` want supervision like any
    other's.
    """

    def __init__(
        self,
        choreography: Choreography,
        *,
        store: Store,
        broker: Broker,
        clock: Clock,
        ids: Ids,
        cause_wait_s: float = CAUSE_WAIT_S,
        read_facts: ReadFacts | None = None,
        alone: bool = False,
        keep_sent_s: float = 0.0,
    ) -> None:
        self.choreography: Final = choreography
        self.plan: Final = plan_of(choreography, cause_wait_s=cause_wait_s, read_facts=read_facts)
        self.views: Final = tracker_of(self.plan)
        self.letters: Final = dead_letters_of(self.plan.redaction)
        self._clock = clock
        self._views, self._letters = (
            Runner(
                participant,
                store=store,
                broker=broker,
                clock=clock,
                ids=ids,
                alone=alone,
                keep_sent_s=keep_sent_s,
            )
            for participant in self.participants
        )

    @property
    def participants(self) -> tuple[Participant[Any], ...]:
        """Those that listen beside the choreography's own."""
        return (self.views, self.letters)

    @property
    def runners(self) -> tuple[Runner, Runner]:
        return (self._views, self._letters)

    @property
    def violations(self) -> Mapping[str, int]:
        """How many violations this process has recorded, by code."""
        noted = self._views.counts.notes
        return {code: noted[code] for code in BREACHES}

    async def start(self) -> None:
        for runner in self.runners:
            await runner.start()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Let what is under way finish; nothing that was heard is lost in any case."""
        await asyncio.gather(*(runner.stop(grace_s) for runner in self.runners))

    async def kill(self) -> None:
        """Let go of everything at once, as a crash would."""
        await asyncio.gather(*(runner.kill() for runner in self.runners))

    # ---------------------------------------------------------------------------------- sagas

    def watch(self, saw: Callable[[str, SagaView], None]) -> None:
        """Tell ``saw`` of every view that is stored from now on."""
        self._views.on_stored(lambda kind, key, view: None if view is None else saw(key, view))

    async def past(self, since: float) -> AsyncGenerator[tuple[str, SagaView], None]:
        """The sagas that started since then, the newest first; read as they are asked for, and
        read on after an outage of the store."""
        after: tuple[Scalar, str] | None = None
        while True:
            read = partial(self.find_sagas, since=since, after=after, limit=BULK_PAGE)
            found = await patiently(read, self._clock, "the past")
            for record, view in found:
                yield record.key, view
            if len(found) < BULK_PAGE:
                return
            last = found[-1][0]
            after = (last.fields["started_at"], last.key)

    async def view(self, saga_id: str) -> SagaView | None:
        """What is stored of a saga; ``None`` before the first event of its flow is heard."""
        view: SagaView | None = await self._views.get(self.views.saga, saga_id)
        return view if _has_begun(view) else None

    async def view_soon(self, saga_id: str) -> SagaView | None:
        """``view``, with some patience for a saga that can only just have begun."""
        view = await self.view(saga_id)
        if view is not None or not self._is_young(saga_id):
            return view
        return await self._views.until(self.views.saga, saga_id, _has_begun, within_s=PATIENCE_S)

    def _is_young(self, saga_id: str) -> bool:
        if not _UUID7.fullmatch(saga_id):
            return False
        made = int(saga_id[:8] + saga_id[9:13], 16) / 1_000
        # Another machine's clock may be ahead of ours, but not by any amount.
        return abs(self._clock.now() - made) < YOUNG_S

    async def saga(self, saga_id: str, *, staff: bool = True) -> ListedSaga | None:
        """The whole resource, as staff or as its owner sees it."""
        view = await self.view(saga_id)
        if view is None:
            return None
        return saga_resource(saga_id, view, self.plan, staff=staff, events=True)

    async def find_sagas(
        self,
        where: Mapping[str, Scalar] | None = None,
        *,
        since: float = 0.0,
        after: tuple[Scalar, str] | None = None,
        limit: int = 20,
    ) -> Found:
        """Newest first. ``where`` may name ``status``, ``stuck`` and ``owner``."""
        # Documents without a start are no sagas (yet), and below every bound.
        query = Query(
            where=where or {},
            at_least={"started_at": since - SHOWN_S},
            sort="started_at",
            descending=True,
            after=after,
            limit=limit,
        )
        return await self._views.find(self.views.saga, query)

    def listed(self, found: tuple[Record, Any]) -> ListedSaga:
        """A saga as lists show it."""
        record, view = found
        return saga_resource(record.key, view, self.plan, staff=True, events=False)

    def graph(self) -> dict[str, Any]:
        """The flow, generated from the declarations."""
        return {
            "mermaid": self.choreography.mermaid(),
            "nodes": [asdict(node) for node in self.choreography.nodes()],
            "edges": [asdict(edge) for edge in self.choreography.edges()],
        }

    async def cancel(self, saga_id: str, *, by: str, reason: str, **request: Any) -> None:
        """Ask for a saga to be cancelled: the choreography decides how, and whether it can be.

        ``request`` is as for ``Runner.execute`` (``id``, ``request_id``, ``traceparent``). Raises
        ``CommandRefused``: ``not_found``, or ``too_late_to_cancel`` behind the pivot or the end.
        """
        command = CancelSaga(by=by, reason=reason)
        await self._views.execute(self.views.saga, saga_id, command, **request)

    async def events(
        self, saga_id: str, *, after: str | None = None, staff: bool = True
    ) -> AsyncGenerator[SagaEvent, None]:
        """The saga's events in their order of arrival, then each new one; ends with the saga.

        ``after`` is the id of the last event that the reader has; an unknown one starts at the
        beginning. Repeats nothing and leaves nothing out, also across reconnects.
        """
        sent, pause = 0, pauses()
        while True:
            changed = self._views.watch(self.views.saga, saga_id)
            try:
                view = await self.view(saga_id)
                if view is None:
                    return
                if after is not None:
                    sent, after = _place_behind(view.entries, after), None
                if sent < len(view.entries):
                    pause = pauses()
                for entry in view.entries[sent:]:
                    yield event_resource(entry, staff=staff)
                sent = len(view.entries)
                if view.ended:
                    return
                await asyncio.wait({changed}, timeout=next(pause))
            finally:
                changed.cancel()

    # --------------------------------------------------------------------------- dead letters

    async def dead_letter(self, dead_letter_id: str) -> DeadLetter | None:
        """The resource, open or resolved."""
        letter: DeadLetterView | None = await self._letters.get(self.letters.saga, dead_letter_id)
        if letter is None or letter.occurred_at is None:
            return None
        return dead_letter_resource(dead_letter_id, letter)

    async def find_dead_letters(
        self,
        where: Mapping[str, Scalar],
        *,
        after: tuple[Scalar, str] | None = None,
        limit: int = 20,
    ) -> Found:
        """Newest first. ``where`` may name ``status``, ``participant`` and ``cause``."""
        query = Query(
            where=where,
            at_least={"occurred_at": 0.0},
            sort="occurred_at",
            descending=True,
            after=after,
            limit=limit,
        )
        return await self._letters.find(self.letters.saga, query)

    async def replay(self, dead_letter_id: str, *, by: str, reason: str, **request: Any) -> None:
        """Have it processed again. ``CommandRefused``: ``not_found``, or ``already_resolved``."""
        await self._operate(dead_letter_id, ReplayDeadLetter(by=by, reason=reason), request)

    async def discard(self, dead_letter_id: str, *, by: str, reason: str, **request: Any) -> None:
        """Give it up: what it held back goes on, and its saga needs a person. Refused likewise."""
        await self._operate(dead_letter_id, DiscardDeadLetter(by=by, reason=reason), request)

    async def replay_all(
        self, where: Mapping[str, Scalar], *, by: str, reason: str, **request: Any
    ) -> int:
        """Have every open one that matches processed again; how many those are."""
        command = ReplayDeadLetter(by=by, reason=reason)
        after: tuple[Scalar, str] | None = None
        asked = 0
        while True:
            found = await self.find_dead_letters(
                {**where, "status": "open"}, after=after, limit=BULK_PAGE
            )
            answers = await asyncio.gather(
                *(self._operate(record.key, command, request) for record, _ in found),
                return_exceptions=True,
            )
            for answer in answers:
                # Refused: somebody else resolved it in this moment.
                if isinstance(answer, BaseException) and not isinstance(answer, CommandRefused):
                    raise answer
                asked += answer is None
            if len(found) < BULK_PAGE:
                return asked
            last = found[-1][0]
            after = (last.fields["occurred_at"], last.key)

    async def _operate(
        self,
        dead_letter_id: str,
        command: ReplayDeadLetter | DiscardDeadLetter,
        request: Mapping[str, Any],
    ) -> None:
        letter: DeadLetterView | None = await self._letters.get(self.letters.saga, dead_letter_id)
        await self._letters.execute(
            self.letters.saga,
            dead_letter_id,
            command,
            # So that the saga's own timeline shows what was done about it.
            saga_id=None if letter is None else letter.saga_id,
            **request,
        )


def _has_begun(view: SagaView | None) -> bool:
    return view is not None and view.started_at is not None


def _place_behind(entries: tuple[Entry, ...], event_id: str) -> int:
    for place, entry in enumerate(entries):
        if entry.id == event_id:
            return place + 1
    return 0
