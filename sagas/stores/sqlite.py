"""The embedded store: one SQLite file, shared by any number of services of one process.

Each service sees only its own tables (``payment__payments``), but all share the file's one writer,
so that their commits share transactions and ``fsync``s (group commit: DeWitt et al., 1984).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.stores.catalog import Catalog, check_name
from sagas.stores.sqlite_lane import Lane, WriteLane
from sagas.stores.sqlite_table import Table

__all__ = ["SqliteDatabase", "SqliteStore"]


class SqliteDatabase:
    """One file, in write-ahead mode, every commit synced to disk before it is reported.

    ``busy_timeout_ms``: how long to wait for another process's lock before ``StoreUnavailable``.
    ``waiting_limit``: how many writes may wait for the writer; further commits await room.
    Belongs to the event loop that first uses it. Other processes may read and write the file.
    """

    def __init__(
        self, path: Path, *, busy_timeout_ms: int = 5_000, waiting_limit: int = 10_000
    ) -> None:
        self.path = path
        self._writer = WriteLane(path, "sqlite-writer", busy_timeout_ms, waiting_limit)
        # Two readers by kind of work: the loads of running steps never queue behind a long list.
        self._loader = Lane(path, "sqlite-loader", busy_timeout_ms, waiting_limit)
        self._lister = Lane(path, "sqlite-lister", busy_timeout_ms, waiting_limit)

    @property
    def transactions(self) -> int:
        """Transactions committed so far; fewer than commits when those were grouped."""
        return self._writer.transactions

    def store(self, namespace: str) -> SqliteStore:
        """The store of one service; ``namespace`` begins the names of its tables."""
        return SqliteStore(namespace, self._writer, self._loader, self._lister)

    async def close(self) -> None:
        """Finish what was accepted and let go of the file. Safe to repeat."""
        lanes = (self._writer, self._loader, self._lister)
        for lane in lanes:
            lane.stop()
        for lane in lanes:
            await asyncio.to_thread(lane.join)


class SqliteStore:
    """``Store`` in tables of its own within a ``SqliteDatabase``.

    A loaded record has every declared field, ``None`` where the write gave none; a ``bool`` comes
    back as 0 or 1, which Python holds equal to it.
    """

    def __init__(self, namespace: str, writer: WriteLane, loader: Lane, lister: Lane) -> None:
        self._namespace = check_name(namespace)
        self._writer = writer
        self._loader = loader
        self._lister = lister
        self._catalog = Catalog()
        self._tables: dict[str, Table] = {}
        self._commits = 0
        self._committed = False
        self._closed = False

    async def open(self, collections: Sequence[Collection]) -> None:
        tables = {each.name: Table(self._namespace, each) for each in collections}

        def create(cursor: sqlite3.Cursor) -> None:
            for table in tables.values():
                table.create(cursor)

        self._check_open()
        await self._writer.run(create)
        self._tables.update(tables)
        self._catalog.declare(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        table = self._table(collection)
        if not keys:
            return {}
        return await self._loader.run(partial(table.load, keys=keys))

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self._check_open()
        self._catalog.check_writes(writes)
        if not writes:
            return []
        self._committed = True
        self._commits += 1
        try:
            return await self._writer.run(partial(self._apply, writes=writes), len(writes))
        finally:
            self._commits -= 1

    async def query(self, collection: str, query: Query) -> list[Record]:
        table = self._table(collection)
        self._catalog.check_query(collection, query)
        return await self._lister.run(partial(table.query, query=query))

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        return await self._lister.run(
            partial(self._table(collection).due, until=until, limit=limit)
        )

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        return await self._lister.run(
            partial(self._table(collection).pending, limit=limit, after=after)
        )

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        # Through the writer: between reading an outbox and writing it back, no commit can come.
        table = self._table(collection)
        if sent:
            await self._writer.run(partial(table.settle, sent=sent), len(sent))

    async def expire(self, collection: str, now: float, limit: int) -> int:
        table = self._table(collection)
        return await self._writer.run(partial(table.expire, now=now, limit=limit))

    async def ping(self) -> None:
        self._check_open()
        await self._loader.run(_read_something)

    async def close(self) -> None:
        self._closed = True
        # The writer serves in order: an empty job is through when all before it are, those of
        # cancelled callers too. Repeated for commits that were still waiting for room.
        waiting = self._committed
        while waiting:
            try:
                await self._writer.run(_nothing, 0)
            except StoreUnavailable:
                return  # the database was closed, and has finished them
            waiting = self._commits > 0

    def _apply(self, cursor: sqlite3.Cursor, writes: Sequence[Write]) -> list[Outcome]:
        by_table: dict[str, list[int]] = {}
        for place, write in enumerate(writes):
            by_table.setdefault(write.collection, []).append(place)
        outcomes = [Outcome.DONE] * len(writes)
        for collection, places in by_table.items():
            part = [writes[place] for place in places]
            one_by_one = self._writer.one_by_one
            done = self._tables[collection].apply_all(cursor, part, one_by_one)
            for place, outcome in zip(places, done, strict=True):
                outcomes[place] = outcome
        return outcomes

    def _table(self, collection: str) -> Table:
        self._check_open()
        self._catalog.fields(collection)
        return self._tables[collection]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store of {self._namespace} was closed: make a new one")


def _nothing(cursor: sqlite3.Cursor) -> None:
    """For its place in the queue only."""


def _read_something(cursor: sqlite3.Cursor) -> None:
    cursor.execute("SELECT count(*) FROM sqlite_schema").fetchone()
