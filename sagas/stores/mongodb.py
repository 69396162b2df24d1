"""The store of a real deployment: MongoDB, one database per service, one document per record.

No transaction and no change stream: whatever must change together is one document. Any number of
processes may write the same database; each write names the version it was decided on, and one that
lost is told so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from pymongo import timeout

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.stores.catalog import Catalog, check_name
from sagas.stores.mongodb_collection import MongoCollection, side_by_side
from sagas.stores.mongodb_driver import Connection
from sagas.stores.mongodb_layout import Layout

__all__ = ["MongoDatabase", "MongoStore"]

#: Readiness is asked for by those who will not wait long.
PING_S = 1.5


class MongoDatabase:
    """A server or replica set, named by its URL.

    The URL's database, ``sagas`` if it names none, begins the names of all databases:
    ``mongodb://host/shop`` has ``shop_payment`` for the service ``payment``. Its options are the
    driver's; ``driver=pymongo`` takes PyMongo's asynchronous client instead of motor. Raises
    ``SettingError`` for a URL that cannot be read. Nothing is sent before a store is opened.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(url)
        self._stores: list[MongoStore] = []

    def store(self, namespace: str) -> MongoStore:
        """The store of one service."""
        store = MongoStore(namespace, self._connection)
        self._stores.append(store)
        return store

    async def close(self) -> None:
        """Finish what was accepted and let go of all connections. Safe to repeat."""
        await asyncio.gather(*(store.close() for store in self._stores))
        await self._connection.close()


class MongoStore:
    """``Store`` in a database of its own.

    A loaded record has every declared field, ``None`` where the write gave none; a ``bool`` comes
    back as 0 or 1, which Python holds equal to it.
    """

    def __init__(self, namespace: str, connection: Connection) -> None:
        self._namespace = check_name(namespace)
        self._connection = connection
        self._name = f"{connection.prefix}_{namespace}"
        self._catalog = Catalog()
        self._collections: dict[str, MongoCollection] = {}
        #: Begins the stamps of this process's writes.
        self._sign = secrets.token_bytes(8)
        self._closed = False
        self._commits = 0
        self._idle = asyncio.Event()

    @property
    def round_trips(self) -> int:
        """Commands sent to the server so far."""
        return self._connection.round_trips(self._name)

    async def open(self, collections: Sequence[Collection]) -> None:
        self._check_open()
        layouts = [Layout(collection) for collection in collections]
        database = self._connection.database(self._name)
        await self.ping()  # tells soon when nobody is there
        for layout in layouts:
            documents = self._collections.get(layout.name)
            if documents is None:
                driven = database[layout.name]
                documents = MongoCollection(layout, driven, self._connection, self._sign)
            documents.layout = layout
            await documents.create()
            self._collections[layout.name] = documents
        self._catalog.declare(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        documents = self._collection(collection)
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        found = await documents.read(wanted)
        return {record.key: record for record in found if record is not None}

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self._check_open()
        self._catalog.check_writes(writes)
        self._commits += 1
        try:
            return await side_by_side(
                writes, lambda write: self._collections[write.collection].write
            )
        finally:
            self._commits -= 1
            if not self._commits:
                self._idle.set()

    async def query(self, collection: str, query: Query) -> list[Record]:
        documents = self._collection(collection)
        self._catalog.check_query(collection, query)
        return await documents.query(query)

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        return await self._collection(collection).due(until, limit)

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        return await self._collection(collection).pending(limit, after)

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        await self._collection(collection).settle(sent)

    async def expire(self, collection: str, now: float, limit: int) -> int:
        return await self._collection(collection).expire(now, limit)

    async def ping(self) -> None:
        self._check_open()
        documents = self._connection.database(self._name)["ping"]
        with timeout(PING_S):
            await self._connection.answer(documents.find({"_id": ""}).to_list(1))

    async def close(self) -> None:
        self._closed = True
        while self._commits:
            self._idle.clear()
            await self._idle.wait()
        for documents in self._collections.values():
            # Also what its callers were cancelled for meanwhile.
            await documents.write.drained()
            await documents.read.drained()

    def _collection(self, collection: str) -> MongoCollection:
        self._check_open()
        self._catalog.fields(collection)
        return self._collections[collection]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store of {self._namespace} was closed: make a new one")
