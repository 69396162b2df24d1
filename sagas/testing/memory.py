"""A store in memory: the whole contract, deterministic, without threads or files.

The records live in the ``MemoryDatabase``: a service "restarts" when a new store is made on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.stores.catalog import Catalog, check_collection
from sagas.testing.tables import Tables

__all__ = ["MemoryDatabase", "MemoryStore"]


class MemoryDatabase:
    """What outlives a service's crash."""

    def __init__(self) -> None:
        self._tables: dict[str, Tables] = {}

    def store(self, namespace: str) -> MemoryStore:
        """The store of one service, as it finds it when it (re)starts."""
        tables = self._tables.get(namespace)
        if tables is None:
            tables = self._tables[namespace] = Tables(namespace)
        return MemoryStore(tables)


class MemoryStore:
    """``Store`` on the tables of one namespace.

    Each method gives way to other tasks before and after its work, as a real store does: what is
    wrong when others come in between shows here too, and in the same way in every run.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._catalog = Catalog()
        self._closed = False
        self._commits = 0

    async def open(self, collections: Sequence[Collection]) -> None:
        for collection in collections:
            check_collection(collection)
        await self._turn()
        self._tables.open(collections)
        self._catalog.declare(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        await self._turn_for(collection)
        found = self._tables.load(collection, keys)
        await asyncio.sleep(0)
        return found

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self._check_open()
        self._catalog.check_writes(writes)
        self._commits += 1
        try:
            await self._turn()
            outcomes = self._tables.commit(writes)
            await asyncio.sleep(0)
            return outcomes
        finally:
            self._commits -= 1

    async def query(self, collection: str, query: Query) -> list[Record]:
        self._catalog.check_query(collection, query)
        await self._turn_for(collection)
        page = self._tables.query(collection, query)
        await asyncio.sleep(0)
        return page

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        await self._turn_for(collection)
        found = self._tables.due(collection, until, limit)
        await asyncio.sleep(0)
        return found

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        await self._turn_for(collection)
        found = self._tables.pending(collection, limit, after)
        await asyncio.sleep(0)
        return found

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        await self._turn_for(collection)
        self._tables.settle(collection, sent)
        await asyncio.sleep(0)

    async def expire(self, collection: str, now: float, limit: int) -> int:
        await self._turn_for(collection)
        expired = self._tables.expire(collection, now, limit)
        await asyncio.sleep(0)
        return expired

    async def ping(self) -> None:
        await self._turn()

    async def close(self) -> None:
        self._closed = True
        while self._commits:  # noqa: ASYNC110 - each of them ends within two turns of the loop
            await asyncio.sleep(0)

    async def _turn_for(self, collection: str) -> None:
        self._check_open()
        self._catalog.fields(collection)
        await self._turn()

    async def _turn(self) -> None:
        self._check_open()
        await asyncio.sleep(0)

    def _check_open(self) -> None:
        if self._closed:
            name = self._tables.namespace
            raise StoreUnavailable(f"the store of {name} was closed: make a new one")
