"""A runner serves one participant: deliveries, commands and due timers become *jobs* of its worker.

Here is what surrounds the worker: start and stop, what may be asked and commanded from outside, and
what comes in from the broker.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from sagas.commands import Commands
from sagas.errors import BrokerUnavailable, CommandRefused, StoreUnavailable
from sagas.intake import Intake
from sagas.job import Reply
from sagas.kept import KeptEvents
from sagas.kind import Kind
from sagas.participant import Participant
from sagas.ports import Broker, Clock, Delivery, Ids, Query, Record, Store, Subscription
from sagas.supervised import Supervised
from sagas.worker import Worker

__all__ = ["Runner"]

log = logging.getLogger(__name__)

PREFETCH = 512


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
        self._tasks = Supervised()
        self.failed = self._tasks.failed
        self._store = store
        self._broker = broker
        self._clock = clock
        self._prefetch = prefetch
        self._commands = Commands(participant.name, clock, ids)
        self._subscription: Subscription | None = None
        self._kept = KeptEvents(store, clock, ids, for_s=keep_sent_s) if keep_sent_s else None
        given = {} if resources is None else resources(self)
        self._intake = Intake(participant, {**given, Runner: self})
        self._worker = Worker(
            participant,
            self._intake,
            store=store,
            broker=broker,
            clock=clock,
            ids=ids,
            ack=self._ack,
            alone=alone,
            kept=self._kept,
        )
        self.counts = self._worker.counts
        self.relay = self._worker.relay
        self.trouble = self._worker.trouble

    def on_stored(self, hear: Callable[[str, str, Any], None]) -> None:
        """Have ``hear`` told of every document that was written: its kind, its key and its new
        state. Plain and quick, since the next batch waits for it.
        """
        self._worker.stored = hear

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
        await self._worker.documents.open()
        self._subscription = self._broker.subscribe(self.participant.name, self._prefetch)
        self._supervise("consumer", self._consume(self._subscription))
        self._supervise("worker", self._worker.run())
        self._supervise("relay", self.relay.run())
        self._supervise("outbox sweep", self.relay.sweep_forever())
        self._supervise("deadlines", self._worker.deadlines.run())
        self._supervise("command limit", self._commands.limit())

    async def stop(self, grace_s: float = 5.0) -> None:
        """Stop consuming, let what is under way finish for ``grace_s``, then let go.

        What did not finish was not acked, or is stored: the next start goes on with it.
        """
        self._tasks.cancel(f"{self.participant.name}'s consumer")
        try:
            async with asyncio.timeout(grace_s):
                while self._worker.is_busy:
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
        await self._tasks.close()
        await self._worker.lanes.close()
        self._commands.close()
        if self._subscription is not None:
            await self._subscription.close()
            self._subscription = None

    def _supervise(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.keep(f"{self.participant.name}'s {name}", work)

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
        self._worker.post([job])
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
        self._worker.post(jobs)
        futures = [job.future for job in jobs if job.future is not None]
        answers: list[Reply | CommandRefused] = []
        for answer in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, CommandRefused):
                raise answer
            answers.append(answer)
        return answers

    def _check_room(self) -> None:
        if self._worker.waiting > 20 * self._prefetch:
            raise StoreUnavailable(f"{self.participant.name} has too many commands waiting")

    async def get(self, kind: Kind[Any], key: str) -> Any | None:
        """The stored state of one document, or ``None``."""
        return await self._worker.documents.get(kind, key)

    async def cached(
        self, kind: Kind[Any], keys: Iterable[str], max_age_s: float
    ) -> dict[str, Any]:
        """States that were stored at most ``max_age_s`` ago; absent ones are left out."""
        return await self._worker.documents.recent(kind, keys, max_age_s)

    async def find(self, kind: Kind[Any], query: Query) -> list[tuple[Record, Any]]:
        """A page of a list: records with their states; documents without one are left out."""
        return await self._worker.documents.find(kind, query)

    def watch(
        self, kind: Kind[Any], key: str, wanted: Callable[[Any], bool] = lambda state: True
    ) -> asyncio.Future[Any]:
        """Done with the new state at the next write of this document that leaves it ``wanted``.

        Only writes of this process are seen. Cancel the future when it is not needed any more.
        """
        return self._worker.watchers.add((kind.name, key), wanted)

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
            return (await self._worker.documents.recent(kind, [key], max_age_s)).get(key)

        slot = (kind.name, key)
        return await self._worker.watchers.until(
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
            self._worker.post([job for job in jobs if job is not None])

    def _ack(self, deliveries: list[Delivery]) -> None:
        if self._subscription is not None:
            self._subscription.ack(deliveries)
