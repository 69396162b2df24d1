"""The heart: jobs come in, one atomic write is made, events go out.

The worker takes every job that is ready, loads the documents concerned in one read, decides in
memory, and makes all writes in one commit. What gathered meanwhile is the next batch: nothing waits
for a batch to fill.

    delivery → inbox check → load → effects → decide → ONE atomic write → publish → ack

Reactions that are plain functions run at once. Those that reach outside (``async``) run as tasks
beside the worker and hold up only their own document, whose later jobs wait in its *lane*.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from sagas.deadlines import Deadlines
from sagas.decider import Decider
from sagas.documents import Documents
from sagas.errors import CommandRefused, Duplicate, Permanent
from sagas.intake import Intake
from sagas.job import WAKE_UP, Job, Reply, Slot, Work
from sagas.kept import KeptEvents
from sagas.lanes import Lanes
from sagas.outages import patiently
from sagas.participant import Participant
from sagas.ports import Broker, Clock, Delivery, Ids, Outcome, Store
from sagas.reaction import Reaction
from sagas.relay import Relay
from sagas.watchers import Watchers

__all__ = ["Counts", "Worker"]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What a runner did since it started, for metrics."""

    jobs: int = 0
    commits: int = 0
    writes: int = 0
    conflicts: int = 0
    outages: int = 0
    #: Calls for a person in the log, by their code.
    notes: Counter[str] = field(default_factory=Counter)


class Worker:
    """Does the jobs of one participant, in batches. ``ack`` is called once they are durable.

    ``alone`` and ``kept``: see ``Runner``. Not bounded by itself: its jobs are unacked deliveries
    and commands, both of which the runner bounds.
    """

    def __init__(
        self,
        participant: Participant[Any],
        intake: Intake,
        *,
        store: Store,
        broker: Broker,
        clock: Clock,
        ids: Ids,
        ack: Callable[[list[Delivery]], None],
        alone: bool,
        kept: KeptEvents | None,
    ) -> None:
        self.counts = Counts()
        self.watchers = Watchers()
        #: See ``Runner.stored``.
        self.stored: Callable[[str, str, Any], None] | None = None
        self._name = participant.name
        self._store = store
        self._clock = clock
        self._ack = ack
        self._kinds = {kind.name: kind for kind in participant.kinds}
        self._ready: deque[Job] = deque()
        self._wake = asyncio.Event()
        #: What the batch under way is about.
        self._works: dict[Slot, Work] = {}
        names = list(self._kinds)
        self.lanes = Lanes(intake, clock, ids, lambda job: self.post([job]))
        self.relay = Relay(store, broker, clock, names, confirmed=self._confirmed, kept=kept)
        self.deadlines = Deadlines(store, clock, names, self._fire)
        self.documents = Documents(
            participant,
            store,
            clock,
            is_sent=self.relay.is_sent,
            in_use=self._in_use,
            alone=alone,
        )
        self._decider = Decider(
            participant,
            intake,
            ids,
            start_effect=self._start_effect,
            reload=self._reload,
            alone=alone,
        )
        self.trouble = self._decider.trouble

    @property
    def waiting(self) -> int:
        """Jobs that nobody has looked at yet."""
        return len(self._ready)

    @property
    def is_busy(self) -> bool:
        """Whether anything is under way, up to the hand-over to the broker."""
        return bool(self._ready or self._works or self.lanes or self.relay.waiting)

    def post(self, jobs: Iterable[Job]) -> None:
        """Have these done, after those that wait already."""
        self._ready.extend(jobs)
        self._wake.set()

    def _fire(self, slots: list[Slot]) -> None:
        self.post([Job(self._kinds[name], key, WAKE_UP) for name, key in slots])

    def _start_effect(self, job: Job, work: Work, reaction: Reaction) -> None:
        self.lanes.start(job, work.aggregate, reaction)

    def _reload(self, job: Job) -> None:
        self.documents.evict(job.slot)
        self.post([job])

    def _in_use(self, slot: Slot) -> bool:
        return slot in self.lanes or slot in self._works

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                # One turn of the event loop, no time: whatever else is ready right now comes along.
                await asyncio.sleep(0)
                jobs, self._ready = self._ready, deque()
                await self.documents.load(jobs)
                self.counts.jobs += len(jobs)
                self._decide(jobs)
                if dirty := [work for work in self._works.values() if work.dirty]:
                    await self._write(dirty)
                self._finish()
                self._works = {}
                self.documents.trim()

    def _decide(self, jobs: deque[Job]) -> None:
        """Decide every job of the batch, in order, on documents in memory."""
        now = self._clock.now()
        while jobs:
            job = jobs.popleft()
            if not job.finished and self.lanes.park(job):
                continue
            if job.finished:
                # First what waited behind the effect, then the rest of the batch: order is kept.
                jobs.extendleft(reversed(self.lanes.open(job.slot)))
            work = self._works.get(job.slot)
            if work is None:
                work = self._works[job.slot] = Work(job.kind, self.documents[job.slot], now)
            elif job.alone and work.dirty:
                self.post([job])
                continue
            jobs.extendleft(reversed(self._decider.decide(job, work)))

    async def _write(self, works: list[Work]) -> None:
        """ONE commit for the batch; what lost its race is decided again on what is stored."""
        writes, ridden = [], []
        for work in works:
            # What the broker took so far leaves the stored outbox with this write.
            ridden.append(self.relay.rides((work.kind.name, work.aggregate.key)))
            writes.append(work.aggregate.write(work.kind))
        outages = self.counts.outages
        outcomes = await patiently(
            lambda: self._store.commit(writes), self._clock, self._name, self._outage
        )
        if self.counts.outages > outages and Outcome.CONFLICT in outcomes:
            # Perhaps the write was done and only its answer lost: then its events are stored, and
            # nobody has handed them over.
            self.relay.recover_soon()
        self.counts.commits += 1
        self.counts.writes += len(writes)
        now = self._clock.now()
        for work, write, rode, outcome in zip(works, writes, ridden, outcomes, strict=True):
            slot = (write.collection, write.key)
            if outcome is Outcome.DONE:
                for note in work.notes:
                    log.error("%s", note.text)
                    self.counts.notes[note.code] += 1
                work.aggregate.version += 1
                work.aggregate.fresh_at = now
                if work.fresh:
                    self.relay.hand_over(slot, work.fresh)
                self.deadlines.note(slot, write.due)
            else:
                self.relay.stays(slot, rode)
                self._lost(work, slot, outcome)

    def _outage(self) -> None:
        self.counts.outages += 1

    def _lost(self, work: Work, slot: Slot, outcome: Outcome) -> None:
        """Another instance wrote first, or a unique value is taken: nothing of this was stored."""
        self.counts.conflicts += 1
        self.documents.evict(slot)
        jobs, work.jobs = work.jobs, []
        if outcome is Outcome.DUPLICATE:
            commands = [job for job in jobs if job.future is not None]
            if len(commands) == 1:
                commands[0].fail(Duplicate(f"{slot[0]}: a unique value is taken"))
                jobs.remove(commands[0])
            for job in commands:
                job.alone = True  # only the one that asked for the value may be told so
            if not commands:
                for job in jobs:
                    job.fault = Permanent(f"{slot[0]}: a unique value is taken by another document")
        # What was due is looked up again in what is stored: another instance may have done it.
        again = [job for job in jobs if not job.was_due]
        if len(again) < len(jobs):
            again.append(Job(work.kind, work.aggregate.key, WAKE_UP))
        for job in again:
            job.again()
        self._ready.extendleft(reversed(again))
        self._wake.set()

    def _finish(self) -> None:
        """Everything is durable: ack, answer, and wake who waits for a change."""
        acks: list[Delivery] = []
        for slot, work in self._works.items():
            for job in work.jobs:
                if job.delivery is not None:
                    acks.append(job.delivery)
                if isinstance(job.reply, CommandRefused):
                    job.fail(job.reply)
                elif job.future is not None and not job.future.done():
                    job.future.set_result(job.reply or Reply(work.aggregate.state))
            if work.dirty and work.jobs:
                self.watchers.tell(slot, work.aggregate.state)
                if self.stored is not None:
                    self.stored(*slot, work.aggregate.state)
            elif not work.dirty and work.aggregate.timers:
                self.deadlines.note(slot, work.aggregate.due)
        if acks:
            self._ack(acks)

    def _confirmed(self, slot: Slot, message_id: str) -> None:
        """The broker has taken an event: it may leave the outbox with the next write."""
        aggregate = self.documents.peek(slot)
        if aggregate is not None:
            aggregate.outbox = [event for event in aggregate.outbox if event.id != message_id]
