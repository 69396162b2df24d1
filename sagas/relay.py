"""The relay: publishes what was written, and forgets it when the broker has taken it.

The fast path publishes right after the write. Marking events as sent is never a write of its own:
it rides on the next write of the same document, or on a sweep in bulk. After a crash, or when the
broker was away, the relay reads the stored outboxes and publishes again; a repeat is absorbed by
the subscribers' inboxes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from sagas.envelope import Message
from sagas.errors import BrokerUnavailable, StoreUnavailable
from sagas.kept import KeptEvents
from sagas.ports import Broker, Clock, Store

__all__ = ["Relay"]

log = logging.getLogger(__name__)

Slot = tuple[str, str]  # collection, key


COMPLAIN_EVERY_S = 5.0


class Relay:
    """Publishes the events of one participant's documents.

    ``capacity`` bounds the messages waiting in memory; what does not fit stays in the stored
    outbox, which is read again when there is room. ``kept``: where sent events are kept a while.
    """

    def __init__(
        self,
        store: Store,
        broker: Broker,
        clock: Clock,
        collections: Sequence[str],
        *,
        capacity: int = 10_000,
        sweep_s: float = 1.0,
        recover_every: int = 15,
        batches_in_flight: int = 256,
        confirmed: Callable[[Slot, str], None] = lambda slot, message_id: None,
        kept: KeptEvents | None = None,
    ) -> None:
        self._store = store
        self._broker = broker
        self._clock = clock
        self._collections = tuple(collections)
        self._capacity = capacity
        self._sweep_s = sweep_s
        self._recover_every = recover_every
        self._confirmed = confirmed
        self._kept = kept
        self._slots = asyncio.Semaphore(batches_in_flight)
        self._waiting: deque[tuple[Slot, Message]] = deque()
        #: Handed to the broker or waiting here: the sweep must not publish them a second time.
        self._known: set[str] = set()
        #: Taken by the broker, and to be kept before they may leave the outbox.
        self._to_keep: list[tuple[Slot, Message]] = []
        #: Confirmed by the broker, but maybe still in the stored outbox.
        self._sent: dict[Slot, set[str]] = {}
        #: Something stayed behind in the store: read the outboxes at the next sweep.
        self._left_behind = True
        self._recovered = False
        #: Recoveries in a row after which something was refused, and sweeps to let pass before the
        #: next one.
        self._refusals = 0
        self._rest = 0
        self._failures_before = 0
        self._quiet_until = 0.0
        self._wake = asyncio.Event()
        self._publishing: set[asyncio.Task[None]] = set()
        self.published = 0
        self.failures = 0

    @property
    def waiting(self) -> bool:
        """Whether something is about to be handed to the broker."""
        return bool(self._waiting)

    @property
    def backlog(self) -> int:
        """Messages not confirmed yet, as far as this process knows."""
        return len(self._known) - len(self._to_keep)

    def hand_over(self, slot: Slot, messages: Iterable[Message]) -> None:
        """Publish these soon: their write is done."""
        for message in messages:
            if len(self._waiting) >= self._capacity:
                self._left_behind = True  # it stays stored; the sweep finds it when there is room
                return
            self._waiting.append((slot, message))
            self._known.add(message.id)
        self._wake.set()

    def is_sent(self, slot: Slot, message_id: str) -> bool:
        """Whether a message read from a stored outbox is known to be out already."""
        return message_id in self._sent.get(slot, ())

    def rides(self, slot: Slot) -> set[str]:
        """A write that is about to be made stores the outbox without what was confirmed so far."""
        return self._sent.pop(slot, set())

    def stays(self, slot: Slot, message_ids: set[str]) -> None:
        """That write was lost: these are out, and in the stored outbox all the same."""
        if message_ids:
            self._sent.setdefault(slot, set()).update(message_ids)

    async def run(self) -> None:
        """Publish until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._slots.acquire()
                    batch, self._waiting = self._waiting, deque()
                    task = asyncio.create_task(self._publish(batch))
                    self._publishing.add(task)
                    task.add_done_callback(self._published)
        finally:
            for task in self._publishing:
                task.cancel()
            await asyncio.gather(*self._publishing, return_exceptions=True)

    def _published(self, task: asyncio.Task[None]) -> None:
        self._publishing.discard(task)
        self._slots.release()

    async def _publish(self, batch: Sequence[tuple[Slot, Message]]) -> None:
        taken: frozenset[str] | None = None  # all of them
        try:
            await self._broker.publish([message for _, message in batch])
        except BrokerUnavailable as error:
            taken = error.taken
            self._complain(error)
        except asyncio.CancelledError:
            self._give_back(batch)
            raise
        except Exception as error:
            # The sweep publishes them again from the stored outbox, whatever the fault was.
            taken = frozenset()
            log.warning("%d events wait in the outbox: %s", len(batch), error, exc_info=error)
        if taken is not None:
            self._give_back([pair for pair in batch if pair[1].id not in taken])
            batch = [pair for pair in batch if pair[1].id in taken]
        self.published += len(batch)
        if self._kept is None:
            self._out(batch)
        else:
            self._to_keep += batch

    def _complain(self, error: BrokerUnavailable) -> None:
        """Say why events wait, now and then: under load each publish would have a line."""
        if self._clock.now() >= self._quiet_until:
            self._quiet_until = self._clock.now() + COMPLAIN_EVERY_S
            log.warning("events wait in the outbox: %s", error)

    def _out(self, batch: Iterable[tuple[Slot, Message]]) -> None:
        """The broker has these, and nobody needs them here: they may leave their outboxes."""
        for slot, message in batch:
            self._known.discard(message.id)
            self._sent.setdefault(slot, set()).add(message.id)
            self._confirmed(slot, message.id)

    def _give_back(self, batch: Sequence[tuple[Slot, Message]]) -> None:
        if not batch:
            return
        self.failures += 1
        self.recover_soon()
        for _, message in batch:
            self._known.discard(message.id)

    # --------------------------------------------------------------------------------- sweep

    def recover_soon(self) -> None:
        """Something was stored without this process having been told: look at the next sweep."""
        self._left_behind = True
        self._recovered = False

    async def sweep_forever(self) -> None:
        """Recover what is pending now, then keep outboxes short until cancelled.

        Outboxes are read again only when something is known to have stayed behind, and now and
        then for what another instance left when it died.
        """
        sweeps = 0
        while True:
            now_and_then = sweeps % self._recover_every == 0
            try:
                if self._left_behind or now_and_then:
                    await self._recover_in_time()
                if self._kept is not None and now_and_then:
                    await self._kept.expire()
                await self._clock.sleep(self._sweep_s)
                await self.settle()
            except StoreUnavailable as error:
                log.warning("the outbox sweep waits: %s", error)
                self._left_behind = True
                await self._clock.sleep(self._sweep_s)
            sweeps += 1

    async def _recover_in_time(self) -> None:
        """Recover; not while the broker is away, and ever more seldom while it refuses.

        Of an event that one full queue refuses, the others may get a copy with each try.
        """
        if self._rest:
            self._rest -= 1
            return
        self._left_behind = True
        try:
            await self._broker.ping()
        except BrokerUnavailable:
            return  # each publish has said so already
        self._refusals = self._refusals + 1 if self.failures > self._failures_before else 0
        self._failures_before = self.failures
        self._rest = min(2**self._refusals, 2 * self._recover_every) // 2
        self._left_behind = False
        await self.recover()

    async def settle(self) -> None:
        """Take confirmed events out of stored outboxes, in bulk, once they are kept."""
        if self._kept is not None and self._to_keep:
            batch, self._to_keep = self._to_keep, []
            try:
                await self._kept.keep([message for _, message in batch])
            except BaseException:
                self._to_keep[:0] = batch
                raise
            self._out(batch)
        by_collection: dict[str, dict[str, frozenset[str]]] = {}
        for (collection, key), ids in self._sent.items():
            by_collection.setdefault(collection, {})[key] = frozenset(ids)
        for collection, ids_by_key in by_collection.items():
            await self._store.settle(collection, ids_by_key)
            # Only now: whoever reads such a document meanwhile must know what is out already.
            for key, settled in ids_by_key.items():
                left = self._sent.pop((collection, key), set()) - settled
                self.stays((collection, key), left)

    async def recover(self) -> None:
        """Publish stored events that this process knows nothing of (it crashed; no room; refused).

        Except at the start and after a failure, what is younger than a sweep is left alone, so that
        two instances do not repeat each other's fast path.
        """
        young = self._clock.now() - 2 * self._sweep_s if self._recovered else float("inf")
        self._recovered = True
        for collection in self._collections:
            after: str | None = None
            while True:
                if len(self._waiting) >= self._capacity:
                    self._left_behind = True
                    return
                records = await self._store.pending(collection, 500, after)
                for record in records:
                    slot = (collection, record.key)
                    if not record.outbox:
                        # Whoever emptied it died before it was told that nothing waits.
                        self._sent.setdefault(slot, set())
                        continue
                    sent = self._sent.get(slot, set())
                    self.hand_over(
                        slot,
                        [
                            message
                            for message in record.outbox
                            if message.id not in self._known
                            and message.id not in sent
                            and message.time <= young
                        ],
                    )
                if len(records) < 500:
                    break
                after = records[-1].key
