"""The documents in memory: a bounded cache in front of the store, checked by version at each write.

What is cached may be out of date when several instances write. That is safe: every write names the
version it was decided on, and one that loses is decided again on what is stored.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from sagas.aggregate import Aggregate
from sagas.envelope import faults_of
from sagas.errors import Permanent
from sagas.job import Job, Slot
from sagas.kind import Kind
from sagas.outages import patiently
from sagas.participant import Participant
from sagas.ports import Clock, Query, Record, Store

__all__ = ["Documents"]

CACHED_DOCUMENTS = 1_000


class Documents:
    """One participant's documents. ``in_use`` names those that may not be replaced just now."""

    def __init__(
        self,
        participant: Participant[Any],
        store: Store,
        clock: Clock,
        *,
        is_sent: Callable[[Slot, str], bool],
        in_use: Callable[[Slot], bool],
        alone: bool,
    ) -> None:
        self._kinds = {kind.name: kind for kind in participant.kinds}
        self._strays = participant.strays
        self._name = participant.name
        self._store = store
        self._clock = clock
        self._is_sent = is_sent
        self._in_use = in_use
        self._cache: OrderedDict[Slot, Aggregate] = OrderedDict()
        self._alone = alone
        #: Of each collection of sagas, the highest key that may be stored without being cached.
        #: Ids are time-ordered, so nearly every new saga lies above it.
        self._highest: dict[str, str] = {}

    async def open(self) -> None:
        """Learn what is stored. When no other instance writes, that is known from here on."""
        if not self._alone:
            return
        for kind in self._kinds.values():
            if kind.by_saga:
                last = await self._store.query(kind.name, Query(descending=True, limit=1))
                self._highest[kind.name] = last[0].key if last else ""

    def __getitem__(self, slot: Slot) -> Aggregate:
        return self._cache[slot]

    def peek(self, slot: Slot) -> Aggregate | None:
        """The cached document, if there is one."""
        return self._cache.get(slot)

    def evict(self, slot: Slot) -> None:
        """Forget it: the next job on it reads what is stored."""
        if self._cache.pop(slot, None) is not None:
            self._let_go(slot)

    async def load(self, jobs: Iterable[Job]) -> None:
        """Bring every document concerned into the cache: one read per kind for the whole batch.

        When no other instance writes, a saga's document above the highest key that was ever stored
        and let go is known to be new if it is not cached: nobody has to look. A command that is
        the ``first`` may be wrong about that: then its write conflicts. Only what is decided in
        memory may begin so; an effect would have happened by then.
        """
        missing: dict[str, dict[str, None]] = {}
        guessed: dict[Slot, None] = {}
        for job in jobs:
            name, key = slot = job.slot
            if slot in self._cache:
                continue
            highest = self._highest.get(name)
            if highest is not None and key > highest:
                self._keep(slot, Aggregate(key, fresh_at=self._clock.now()))
            elif job.first and key not in missing.get(name, ()):
                guessed[slot] = None
            else:
                missing.setdefault(name, {})[key] = None
                guessed.pop(slot, None)
        for slot in guessed:
            self._keep(slot, Aggregate(slot[1]))
        unreadable: dict[Slot, ValidationError] = {}
        loads = (
            patiently(partial(self._store.load, name, list(keys)), self._clock, self._name)
            for name, keys in missing.items()
        )
        all_found = await asyncio.gather(*loads)
        for (name, keys), found in zip(missing.items(), all_found, strict=True):
            for key in keys:
                try:
                    self._keep((name, key), self._read(self._kinds[name], key, found.get(key)))
                except ValidationError as error:
                    unreadable[name, key] = error
        if strays := [job for job in jobs if job.slot in unreadable]:
            for job in strays:
                # A document that does not fit its model any more: its messages are kept aside.
                slot = job.slot
                job.fault = Permanent(
                    f"{'/'.join(slot)} cannot be read: {faults_of(unreadable[slot])}"
                )
                job.move_to(self._strays, job.message.id or job.key)
            await self.load(strays)

    def trim(self) -> None:
        """Let the longest unused go, down to the bound."""
        for _ in range(len(self._cache) - CACHED_DOCUMENTS):
            slot, aggregate = self._cache.popitem(last=False)
            if self._in_use(slot):
                self._cache[slot] = aggregate
            else:
                self._let_go(slot)

    def _let_go(self, slot: Slot) -> None:
        highest = self._highest.get(slot[0])
        if highest is not None and slot[1] > highest:
            self._highest[slot[0]] = slot[1]

    # ------------------------------------------------------------------------------- for reading

    async def get(self, kind: Kind[Any], key: str) -> Any | None:
        """The stored state of one document, or ``None``."""
        found = await self._store.load(kind.name, [key])
        return None if key not in found else Aggregate.read(kind, found[key], 0.0).state

    async def recent(
        self, kind: Kind[Any], keys: Iterable[str], max_age_s: float
    ) -> dict[str, Any]:
        """States that were stored at most ``max_age_s`` ago; absent ones are left out."""
        oldest = self._clock.now() - max_age_s
        states: dict[str, Any] = {}
        missing: list[str] = []
        for key in keys:
            slot = (kind.name, key)
            cached = self._cache.get(slot)
            # One that is being written may hold what is not stored yet, and perhaps never will be.
            stale = cached is not None and cached.fresh_at < oldest and not self._alone
            if cached is None or stale or self._in_use(slot):
                missing.append(key)
            else:
                states[key] = cached.state
        if missing:
            for key, found in (await self._store.load(kind.name, missing)).items():
                slot, aggregate = (kind.name, key), self._read(kind, key, found)
                states[key] = aggregate.state
                cached = self._cache.get(slot)
                newer = cached is None or cached.version <= aggregate.version
                if newer and not self._in_use(slot):
                    self._keep(slot, aggregate)
        return {key: state for key, state in states.items() if state is not None}

    async def find(self, kind: Kind[Any], query: Query) -> list[tuple[Record, Any]]:
        """A page of a list; documents without a state (tombstones) are left out."""
        query = replace(query, where={**query.where, "present": True})
        records = await self._store.query(kind.name, query)
        return [(found, Aggregate.read(kind, found, 0.0).state) for found in records]

    # -----------------------------------------------------------------------------------------

    def _read(self, kind: Kind[Any], key: str, found: Record | None) -> Aggregate:
        if found is None:
            return Aggregate(key, fresh_at=self._clock.now())
        aggregate = Aggregate.read(kind, found, self._clock.now())
        slot = (kind.name, key)
        aggregate.outbox = [
            event for event in aggregate.outbox if not self._is_sent(slot, event.id)
        ]
        return aggregate

    def _keep(self, slot: Slot, aggregate: Aggregate) -> None:
        self._cache[slot] = aggregate
        self._cache.move_to_end(slot)
