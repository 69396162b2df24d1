"""A store in memory: the whole contract, deterministic, without threads or files.

The records live in the ``MemoryDatabase``: a service "restarts" when a new store is made on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Scalar, Write
from sagas.stores.catalog import Catalog, check_collection, check_name

__all__ = ["MemoryDatabase", "MemoryStore"]


@dataclass(slots=True)
class _Table:
    collection: Collection
    records: dict[str, Record] = field(default_factory=dict)
    #: For each unique field: value → key of the record that has it.
    taken: dict[str, dict[Scalar, str]] = field(default_factory=dict)


class MemoryDatabase:
    """What outlives a service's crash."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, str], _Table] = {}

    def store(self, namespace: str) -> MemoryStore:
        """The store of one service, as it finds it when it (re)starts."""
        return MemoryStore(check_name(namespace), self._tables)


class MemoryStore:
    """``Store`` on the tables of one namespace.

    Each method gives way to other tasks before and after its work, as a real store does: what is
    wrong when others come in between shows here too, and in the same way in every run.
    """

    def __init__(self, namespace: str, tables: dict[tuple[str, str], _Table]) -> None:
        self._namespace = namespace
        self._tables = tables
        self._catalog = Catalog()
        self._closed = False
        self._commits = 0

    async def open(self, collections: Sequence[Collection]) -> None:
        for collection in collections:
            check_collection(collection)
        await self._turn()
        for collection in collections:
            name = (self._namespace, collection.name)
            table = self._tables.setdefault(name, _Table(collection))
            table.collection = collection
            table.taken = {unique: {} for unique in collection.unique}
            for key, record in table.records.items():
                # A newer declaration may have more fields than these were written with.
                fields = {name: record.fields.get(name) for name in collection.fields}
                table.records[key] = record = replace(record, fields=fields)
                _take(table, record)
        self._catalog.declare(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        table = await self._table(collection)
        found = {key: table.records[key] for key in keys if key in table.records}
        await asyncio.sleep(0)
        return found

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self._check_open()
        self._catalog.check_writes(writes)
        self._commits += 1
        try:
            await self._turn()
            outcomes = [
                _apply(self._tables[self._namespace, write.collection], write) for write in writes
            ]
            await asyncio.sleep(0)
            return outcomes
        finally:
            self._commits -= 1

    async def query(self, collection: str, query: Query) -> list[Record]:
        self._catalog.check_query(collection, query)
        table = await self._table(collection)
        found = [record for record in table.records.values() if _matches(record, query)]
        found.sort(key=lambda record: _place(record, query.sort), reverse=query.descending)
        page = found[: max(query.limit, 0)]
        await asyncio.sleep(0)
        return page

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        table = await self._table(collection)
        found = sorted(
            (record.due, record.key)
            for record in table.records.values()
            if record.due is not None and record.due <= until
        )
        await asyncio.sleep(0)
        return found[:limit]

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        table = await self._table(collection)
        keys = sorted(
            key
            for key, record in table.records.items()
            if record.outbox and (after is None or key > after)
        )
        found = [table.records[key] for key in keys[:limit]]
        await asyncio.sleep(0)
        return found

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        table = await self._table(collection)
        for key, ids in sent.items():
            if (record := table.records.get(key)) is not None:
                kept = tuple(message for message in record.outbox if message.id not in ids)
                table.records[key] = replace(record, outbox=kept)
        await asyncio.sleep(0)

    async def expire(self, collection: str, now: float, limit: int) -> int:
        table = await self._table(collection)
        expired = sorted(
            (record.expires, key)
            for key, record in table.records.items()
            if record.expires is not None and record.expires <= now
        )[:limit]
        for _, key in expired:
            _release(table, table.records.pop(key))
        await asyncio.sleep(0)
        return len(expired)

    async def ping(self) -> None:
        await self._turn()

    async def close(self) -> None:
        self._closed = True
        while self._commits:  # noqa: ASYNC110 - each of them ends within two turns of the loop
            await asyncio.sleep(0)

    async def _table(self, collection: str) -> _Table:
        self._check_open()
        self._catalog.fields(collection)
        await self._turn()
        return self._tables[self._namespace, collection]

    async def _turn(self) -> None:
        self._check_open()
        await asyncio.sleep(0)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store of {self._namespace} was closed: make a new one")


def _apply(table: _Table, write: Write) -> Outcome:
    stored = table.records.get(write.key)
    if (stored.version if stored else 0) != write.expected:
        return Outcome.CONFLICT
    if write.body is None:
        assert stored is not None  # the catalog lets nobody delete version 0
        _release(table, table.records.pop(write.key))
        return Outcome.DONE
    # Every declared field, and no event objects: what a store that serialises would give back.
    fields = {name: write.fields.get(name) for name in table.collection.fields}
    outbox = tuple(message.without_event() for message in write.outbox)
    record = Record(
        write.key, write.expected + 1, write.body, outbox, write.due, fields, write.expires
    )
    for name, taken in table.taken.items():
        if taken.get(fields[name], write.key) != write.key:
            return Outcome.DUPLICATE
    if stored is not None:
        _release(table, stored)
    _take(table, record)
    table.records[write.key] = record
    return Outcome.DONE


def _take(table: _Table, record: Record) -> None:
    for name, taken in table.taken.items():
        if (value := record.fields[name]) is not None:
            taken[value] = record.key


def _release(table: _Table, record: Record) -> None:
    for name, taken in table.taken.items():
        if (value := record.fields[name]) is not None:
            taken.pop(value, None)


_Rank = tuple[int, float | str]


def _rank(value: Scalar) -> _Rank:
    """Sorts values of any type: nothing, then numbers, then text."""
    if value is None:
        return (0, 0)
    return (2, value) if isinstance(value, str) else (1, value)


def _place(record: Record, sort: str | None) -> tuple[_Rank, str]:
    return (_rank(record.fields[sort] if sort else None), record.key)


def _matches(record: Record, query: Query) -> bool:
    fields = record.fields
    return (
        _behind(record, query)
        and all(_equals(fields[name], wanted) for name, wanted in query.where.items())
        and all(_ordered(bound, fields[name]) for name, bound in query.at_least.items())
        and all(_ordered(fields[name], bound) for name, bound in query.at_most.items())
        and all(_contains(fields[name], text) for name, text in query.contains.items())
    )


def _behind(record: Record, query: Query) -> bool:
    if query.after is None:
        return True
    value, key = query.after
    place, last = _place(record, query.sort), (_rank(value if query.sort else None), key)
    return place < last if query.descending else place > last


def _equals(value: Scalar, wanted: Scalar | tuple[Scalar, ...]) -> bool:
    return value in wanted if isinstance(wanted, tuple) else value == wanted


def _ordered(low: Scalar, high: Scalar) -> bool:
    return low is not None and high is not None and _rank(low) <= _rank(high)


def _contains(value: Scalar, text: str) -> bool:
    # As bytes, since bytes.lower() leaves everything alone that is not ASCII.
    return isinstance(value, str) and text.encode().lower() in value.encode().lower()
