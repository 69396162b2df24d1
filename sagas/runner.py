"""The heart: a delivery comes in, one atomic write is made, events go out.

A runner serves one participant. Deliveries, commands and due timers become *jobs*; the worker takes
every job that is ready, loads the documents concerned in one read, decides in memory, and makes all
writes in one commit. What gathered meanwhile is the next batch: nothing waits for a batch to fill.

    delivery → inbox check → load → effects → decide → ONE atomic write → publish → ack

Reactions that are plain functions run at once. Those that reach outside (``async``) run as tasks
beside the worker and hold up only their own document, whose later jobs wait in its *lane*.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from sagas.commands import Commands
from sagas.deadlines import Deadlines
from sagas.decider import Decider
from sagas.documents import Documents
from sagas.errors import BrokerUnavailable, CommandRefused, Permanent, SagaError, StoreUnavailable
from sagas.intake import Intake
from sagas.job import WAKE_UP, Job, Reply, Slot, Work
from sagas.kept import KeptEvents
from sagas.lanes import Lanes
from sagas.outages import patiently
from sagas.participant import Kind, Participant, Reaction
from sagas.ports import Broker, Clock, Delivery, Ids, Outcome, Query, Record, Store, Subscription
from sagas.relay import Relay
from sagas.watchers import Watchers

__all__ = ["Duplicate", "Runner"]

log = logging.getLogger(__name__)

PREFETCH = 512


class Duplicate(SagaError):
    """A unique field of the document that a command wanted to write is taken."""


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


class Runner:
    """Runs one participant: ``start``, ``execute`` commands, ``stop``.

    ``resources`` maps the types that reactions ask for to the objects they get (it is called once,
    with this runner, which they may use to run commands of their own). ``alone``: no other
    instance writes this store, so that what is cached is known to be current. ``keep_sent_s``: for
    how long sent events are kept, to refill a queue that was lost. Its tasks are supervised:
    ``failed`` ends with the exception when one of them died, which is a bug and should end the
    process; whatever was not acked is then delivered again.
    """

    def __init__(
        self,
        participant: Participant[Any],
        *,
        store: Store,
        broker: Broker,
        clock: Clock,
        ids: Ids,
        resources: Callable[[Runner], Mapping[type, object]] | None = None,
        prefetch: int = PREFETCH,
        alone: bool = False,
        keep_sent_s: float = 0.0,
    ) -> None:
        self.participant = participant
        self.counts = Counts()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store = store
        self._broker = broker
        self._clock = clock
        self._ids = ids
        self._prefetch = prefetch
        self._ready: deque[Job] = deque()
        self._wake = asyncio.Event()
        #: What the batch under way is about.
        self._works: dict[Slot, Work] = {}
        self._commands = Commands(participant.name, clock, ids)
        self._watchers = Watchers()
        self._subscription: Subscription | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}
        given = {} if resources is None else resources(self)
        self._intake = Intake(participant, {**given, Runner: self})
        self._lanes = Lanes(self._intake, clock, ids, lambda job: self._post([job]))
        self._kinds = {kind.name: kind for kind in participant.kinds}
        names = list(self._kinds)
        self._kept = KeptEvents(store, clock, ids, for_s=keep_sent_s) if keep_sent_s else None
        self.relay = Relay(store, broker, clock, names, confirmed=self._confirmed, kept=self._kept)
        self._deadlines = Deadlines(store, clock, names, self._fire)
        self._documents = Documents(
            participant,
            store,
            clock,
            is_sent=self.relay.is_sent,
            in_use=self._in_use,
            alone=alone,
        )
        self._decider = Decider(
            participant,
            self._intake,
            ids,
            start_effect=self._start_effect,
            reload=self._reload,
            alone=alone,
        )
        self.trouble = self._decider.trouble
        #: Hears of every document that was written: its kind, its key and its new state. Plain and
        #: quick, since the next batch waits for it.
        self.stored: Callable[[str, str, Any], None] | None = None

    # ------------------------------------------------------------------------------ lifecycle

    async def start(self) -> None:
        """Open the store and begin to consume. The broker's queues are declared before this.

        Nothing has begun when it raises; safe to repeat.
        """
        if self._tasks:
            return
        collections = [kind.collection for kind in self.participant.kinds]
        if self._kept is not None:
            collections.append(self._kept.COLLECTION)
        await self._store.open(collections)
        await self._documents.open()
        self._subscription = self._broker.subscribe(self.participant.name, self._prefetch)
        self._supervise("consumer", self._consume(self._subscription))
        self._supervise("worker", self._work())
        self._supervise("relay", self.relay.run())
        self._supervise("outbox sweep", self.relay.sweep_forever())
        self._supervise("deadlines", self._deadlines.run())
        self._supervise("command limit", self._commands.limit())

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop consuming, let what is under way finish for ``grace_s``, then let go.

        What did not finish was not acked, or is stored: the next start goes on with it.
        """
        if "consumer" in self._tasks:
            self._tasks["consumer"].cancel()
        try:
            async with asyncio.timeout(grace_s):
                while self._ready or self._works or self._lanes or self.relay.waiting:
                    await self._clock.sleep(0.01)
        except TimeoutError:
            log.warning("%s stops with work under way", self.participant.name)
        try:
            # What is out need not go out again at the next start.
            async with asyncio.timeout(grace_s):
                await self.relay.settle()
        except (StoreUnavailable, TimeoutError) as error:
            log.warning("%s left sent events in its outbox: %s", self.participant.name, error)
        await self.kill()

    async def kill(self) -> None:
        """Let go of everything at once, as a crash would; only the store knows what was done."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await self._lanes.close()
        self._commands.close()
        self._tasks.clear()
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"{self.participant.name}'s {name}")
        task.add_done_callback(self._task_ended)
        self._tasks[name] = task

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s died", task.get_name(), exc_info=error)
            if not self.failed.done():
                self.failed.set_exception(error)

    # ------------------------------------------------------------------------ commands and reads

    async def execute(
        self,
        kind: Kind[Any],
        key: str,
        trigger: BaseModel,
        *,
        id: str | None = None,
        saga_id: str | None = None,
        request_id: str | None = None,
        traceparent: str | None = None,
        first: bool = False,
    ) -> Reply:
        """Decide ``trigger`` on the document ``key`` and return once the write is durable.

        With an ``id`` the command is idempotent: a repeat is answered with ``repeated``. ``first``:
        most likely the document does not exist yet, so nobody looks before it is decided; if it
        does, that is found when it is written, and decided again. Raises
        ``CommandRefused`` (the domain says no), ``Duplicate`` (a unique field is taken) and
        ``StoreUnavailable`` (whether it was written is then unknown: repeat it with its id).
        """
        self._check_room()
        job = self._commands.job(
            kind,
            key,
            trigger,
            id=id,
            saga_id=saga_id,
            request_id=request_id,
            traceparent=traceparent,
            first=first,
        )
        self._post([job])
        assert job.future is not None
        return await job.future

    async def execute_each(
        self, kind: Kind[Any], commands: Iterable[tuple[str, BaseModel]]
    ) -> list[Reply | CommandRefused]:
        """Commands on several documents, ``(key, trigger)``, decided in one batch.

        As ``execute`` for each, except that a refusal is an answer among the others.
        """
        self._check_room()
        jobs = [self._commands.job(kind, key, trigger) for key, trigger in commands]
        self._post(jobs)
        futures = [job.future for job in jobs if job.future is not None]
        answers: list[Reply | CommandRefused] = []
        for answer in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, CommandRefused):
                raise answer
            answers.append(answer)
        return answers

    def _check_room(self) -> None:
        if len(self._ready) > 20 * self._prefetch:
            raise StoreUnavailable(f"{self.participant.name} has too many commands waiting")

    async def get(self, kind: Kind[Any], key: str) -> Any | None:
        """The stored state of one document, or ``None``."""
        return await self._documents.get(kind, key)

    async def cached(
        self, kind: Kind[Any], keys: Iterable[str], max_age_s: float
    ) -> dict[str, Any]:
        """States that were stored at most ``max_age_s`` ago; absent ones are left out."""
        return await self._documents.recent(kind, keys, max_age_s)

    async def find(self, kind: Kind[Any], query: Query) -> list[tuple[Record, Any]]:
        """A page of a list: records with their states; documents without one are left out."""
        return await self._documents.find(kind, query)

    def watch(
        self, kind: Kind[Any], key: str, wanted: Callable[[Any], bool] = lambda state: True
    ) -> asyncio.Future[Any]:
        """Done with the new state at the next write of this document that leaves it ``wanted``.

        Only writes of this process are seen. Cancel the future when it is not needed any more.
        """
        return self._watchers.add((kind.name, key), wanted)

    async def until(
        self,
        kind: Kind[Any],
        key: str,
        wanted: Callable[[Any], bool],
        *,
        within_s: float,
        stopping: asyncio.Event | None = None,
    ) -> Any | None:
        """The state of a document once it is ``wanted``, whichever instance writes it.

        ``None``: not in time, or ``stopping`` was set. ``wanted`` is asked of ``None`` as well,
        while there is no such document.
        """

        async def look(max_age_s: float) -> Any | None:
            return (await self._documents.recent(kind, [key], max_age_s)).get(key)

        slot = (kind.name, key)
        return await self._watchers.until(
            slot, wanted, look=look, within_s=within_s, stopping=stopping
        )

    # ---------------------------------------------------------------------------------- intake

    async def _consume(self, subscription: Subscription) -> None:
        while True:
            try:
                deliveries = await subscription.next(self._prefetch)
            except BrokerUnavailable as error:
                log.warning("%s waits for the broker: %s", self.participant.name, error)
                await self._clock.sleep(1.0)
                continue
            jobs = [self._intake.job(delivery) for delivery in deliveries]
            if None in jobs:
                both = zip(deliveries, jobs, strict=True)
                subscription.ack([delivery for delivery, job in both if job is None])
            self._post([job for job in jobs if job is not None])

    def _fire(self, slots: list[Slot]) -> None:
        self._post([Job(self._kinds[name], key, WAKE_UP) for name, key in slots])

    def _post(self, jobs: Iterable[Job]) -> None:
        self._ready.extend(jobs)
        self._wake.set()

    def _start_effect(self, job: Job, work: Work, reaction: Reaction) -> None:
        self._lanes.start(job, work.aggregate, reaction)

    def _reload(self, job: Job) -> None:
        self._documents.evict(job.slot)
        self._post([job])

    def _in_use(self, slot: Slot) -> bool:
        return slot in self._lanes or slot in self._works

    # ---------------------------------------------------------------------------------- worker

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                # One turn of the event loop, no time: whatever else is ready right now comes along.
                await asyncio.sleep(0)
                jobs, self._ready = self._ready, deque()
                await self._documents.load(jobs)
                self.counts.jobs += len(jobs)
                self._decide(jobs)
                if dirty := [work for work in self._works.values() if work.dirty]:
                    await self._write(dirty)
                self._finish()
                self._works = {}
                self._documents.trim()

    def _decide(self, jobs: deque[Job]) -> None:
        """Decide every job of the batch, in order, on documents in memory."""
        now = self._clock.now()
        while jobs:
            job = jobs.popleft()
            if not job.finished and self._lanes.park(job):
                continue
            if job.finished:
                # First what waited behind the effect, then the rest of the batch: order is kept.
                jobs.extendleft(reversed(self._lanes.open(job.slot)))
            work = self._works.get(job.slot)
            if work is None:
                work = self._works[job.slot] = Work(job.kind, self._documents[job.slot], now)
            elif job.alone and work.dirty:
                self._post([job])
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
            lambda: self._store.commit(writes), self._clock, self.participant.name, self._outage
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
                self._deadlines.note(slot, write.due)
            else:
                self.relay.stays(slot, rode)
                self._lost(work, slot, outcome)

    def _outage(self) -> None:
        self.counts.outages += 1

    def _lost(self, work: Work, slot: Slot, outcome: Outcome) -> None:
        """Another instance wrote first, or a unique value is taken: nothing of this was stored."""
        self.counts.conflicts += 1
        self._documents.evict(slot)
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
                self._watchers.tell(slot, work.aggregate.state)
                if self.stored is not None:
                    self.stored(*slot, work.aggregate.state)
            elif not work.dirty and work.aggregate.timers:
                self._deadlines.note(slot, work.aggregate.due)
        if acks and self._subscription is not None:
            self._subscription.ack(acks)

    def _confirmed(self, slot: Slot, message_id: str) -> None:
        """The broker has taken an event: it may leave the outbox with the next write."""
        aggregate = self._documents.peek(slot)
        if aggregate is not None:
            aggregate.outbox = [event for event in aggregate.outbox if event.id != message_id]
