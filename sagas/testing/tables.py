"""The tables behind the store in memory: the whole contract of ``Store``, each call one instant.

``MemoryStore`` gives way around these calls; the simulator's store has a network before them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sagas.envelope import Message
from sagas.ports import Collection, Outcome, Query, Record, Scalar, Write
from sagas.stores.catalog import check_collection, check_name

__all__ = ["Tables"]


class _Table:
    """The records of one collection, and what finds some of them without looking at all."""

    def __init__(self) -> None:
        self.collection = Collection("")
        self.records: dict[str, Record] = {}
        self.pending: set[str] = set()
        self.due: dict[str, float] = {}
        #: For each unique field: value → key of the record that has it.
        self.taken: dict[str, dict[Scalar, str]] = {}

    def declare(self, collection: Collection) -> None:
        """Take on a declaration: it may have more fields than records were written with."""
        if collection == self.collection:
            return
        self.collection = collection
        self.taken = {unique: {} for unique in collection.unique}
        for key, record in self.records.items():
            fields = {name: record.fields.get(name) for name in collection.fields}
            self.records[key] = record = replace(record, fields=fields)
            self._take(record)

    def put(self, record: Record) -> None:
        """Store it in the place of what is there."""
        key = record.key
        if self.taken and key in self.records:
            self._release(self.records[key])
        self.records[key] = record
        if record.outbox:
            self.pending.add(key)
        else:
            self.pending.discard(key)
        if record.due is not None:
            self.due[key] = record.due
        else:
            self.due.pop(key, None)
        if self.taken:
            self._take(record)

    def delete(self, key: str) -> None:
        self._release(self.records.pop(key))
        self.pending.discard(key)
        self.due.pop(key, None)

    def is_taken(self, key: str, fields: Mapping[str, Scalar]) -> bool:
        """Whether another record has a value that is unique."""
        return any(taken.get(fields[name], key) != key for name, taken in self.taken.items())

    def _take(self, record: Record) -> None:
        for name, taken in self.taken.items():
            if (value := record.fields[name]) is not None:
                taken[value] = record.key

    def _release(self, record: Record) -> None:
        for name, taken in self.taken.items():
            if (value := record.fields[name]) is not None:
                taken.pop(value, None)


class Tables:
    """One service's records. Names are taken as they come: whoever asks has checked them."""

    def __init__(self, namespace: str) -> None:
        self.namespace = check_name(namespace)
        self._tables: dict[str, _Table] = {}

    def open(self, collections: Sequence[Collection]) -> None:
        for collection in collections:
            check_collection(collection)
        for collection in collections:
            self._tables.setdefault(collection.name, _Table()).declare(collection)

    def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        records = self._tables[collection].records
        return {key: records[key] for key in keys if key in records}

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        return [self._apply(self._tables[write.collection], write) for write in writes]

    def _apply(self, table: _Table, write: Write) -> Outcome:
        key, stored = write.key, table.records.get(write.key)
        if (0 if stored is None else stored.version) != write.expected:
            return Outcome.CONFLICT
        if write.body is None:
            table.delete(key)
            return Outcome.DONE
        # Every declared field, and no event objects: what a store that serialises would give back.
        fields = write.fields
        if len(fields) < len(table.collection.fields):
            fields = {name: fields.get(name) for name in table.collection.fields}
        if table.taken and table.is_taken(key, fields):
            return Outcome.DUPLICATE
        outbox = _plain(write.outbox, stored) if write.outbox else ()
        version = write.expected + 1
        table.put(Record(key, version, write.body, outbox, write.due, fields, write.expires))
        return Outcome.DONE

    def query(self, collection: str, query: Query) -> list[Record]:
        records = self._tables[collection].records.values()
        found = [record for record in records if _matches(record, query)]
        found.sort(key=lambda record: _place(record, query.sort), reverse=query.descending)
        return found[: max(query.limit, 0)]

    def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        due = self._tables[collection].due
        return sorted((moment, key) for key, moment in due.items() if moment <= until)[:limit]

    def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        table = self._tables[collection]
        keys = sorted(key for key in table.pending if after is None or key > after)
        return [table.records[key] for key in keys[:limit]]

    def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        table = self._tables[collection]
        for key, ids in sent.items():
            if key in table.pending:
                record = table.records[key]
                kept = tuple(message for message in record.outbox if message.id not in ids)
                table.put(replace(record, outbox=kept))

    def expire(self, collection: str, now: float, limit: int) -> int:
        table = self._tables[collection]
        expired = sorted(
            (record.expires, key)
            for key, record in table.records.items()
            if record.expires is not None and record.expires <= now
        )[:limit]
        for _, key in expired:
            table.delete(key)
        return len(expired)


def _plain(outbox: Sequence[Message], stored: Record | None) -> tuple[Message, ...]:
    """The outbox as only what travels; most of it is stored already."""
    known = {message.id: message for message in stored.outbox} if stored is not None else {}
    return tuple(known.get(message.id) or message.without_event() for message in outbox)


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
