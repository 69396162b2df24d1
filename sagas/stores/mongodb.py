"""The store of a real deployment: MongoDB, one database per service, one document per record.

No transaction and no change stream: whatever must change together is one document. Any number of
processes may write the same database; each write names the version it was decided on, and one that
lost is told so.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pymongo import timeout
from pymongo.errors import BulkWriteError

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Write
from sagas.stores.batches import Batches
from sagas.stores.catalog import Catalog, check_name
from sagas.stores.mongodb_driver import Connection
from sagas.stores.mongodb_layout import Layout

__all__ = ["MongoDatabase", "MongoStore"]

#: Readiness is asked for by those who will not wait long.
PING_S = 1.5

#: Of a collection that is there already a new index may take long; a repeat goes on waiting.
INDEX_S = 60.0
#: An upsert costs FerretDB 0.1 ms more than an insert, and a command 1.5 ms.
FEW = 16

K = TypeVar("K")


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


class _Room:
    """One collection: its layout, and the batches on their way to it and from it."""

    def __init__(self, layout: Layout, store: MongoStore, documents: Any) -> None:
        self.layout = layout
        self.documents = documents
        self.write = Batches[Write, Outcome](lambda writes: store._write(self, writes))
        self.read = Batches[str, Record | None](lambda keys: store._read(self, keys))


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
        self._rooms: dict[str, _Room] = {}
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
            documents = database[layout.name]
            with timeout(INDEX_S):
                create = documents.create_indexes(layout.indexes())
                await self._connection.answer(create, INDEX_S)
            self._rooms[layout.name] = _Room(layout, self, documents)
        self._catalog.declare(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        room = self._room(collection)
        wanted = list(dict.fromkeys(keys))
        if not wanted:
            return {}
        found = await room.read(wanted)
        return {record.key: record for record in found if record is not None}

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        self._check_open()
        self._catalog.check_writes(writes)
        self._commits += 1
        try:
            return await _side_by_side(
                writes, lambda write: self._rooms[write.collection], lambda room: room.write
            )
        finally:
            self._commits -= 1
            if not self._commits:
                self._idle.set()

    async def query(self, collection: str, query: Query) -> list[Record]:
        room = self._room(collection)
        self._catalog.check_query(collection, query)
        if query.limit <= 0:
            return []
        layout = room.layout
        found = await self._find(
            room,
            layout.filter(query),
            sort=layout.order(query),
            limit=query.limit,
            hint=layout.hint(query),
        )
        return [layout.record(document) for document in found]

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        found = await self._find(
            self._room(collection),
            # That it exists goes without saying, but says that the partial index has them all.
            {"_due": {"$exists": True, "$lte": until}},
            {"_due": True},
            sort=[("_due", 1), ("_id", 1)],
            limit=limit,
            hint="due",
        )
        return [(document["_due"], document["_id"]) for document in found]

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        room = self._room(collection)
        behind = {"$gte": ""} if after is None else {"$gt": after}
        found = await self._find(
            room, {"_waits": behind}, sort=[("_waits", 1)], limit=limit, hint="outbox"
        )
        return [room.layout.record(document) for document in found]

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        room = self._room(collection)
        if sent:
            changes = room.layout.settle(sent)
            await self._connection.answer(room.documents.bulk_write(changes, ordered=True))

    async def expire(self, collection: str, now: float, limit: int) -> int:
        room = self._room(collection)
        expired = {"_expires": {"$lte": now}}
        found = await self._find(
            room, expired, {"_id": True}, sort=[("_expires", 1)], limit=limit, hint="expires"
        )
        if not found:
            return 0
        # The condition again: one that was written meanwhile may have more time now.
        gone = {"_id": {"$in": [document["_id"] for document in found]}, **expired}
        result = await self._connection.answer(room.documents.delete_many(gone))
        return int(result.deleted_count)

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
        for room in self._rooms.values():
            # Also what its callers were cancelled for meanwhile.
            await room.write.drained()
            await room.read.drained()

    # ------------------------------------------------------------------------------ batches

    async def _read(self, room: _Room, keys: Sequence[str]) -> list[Record | None]:
        wanted = list(dict.fromkeys(keys))
        found = {
            document["_id"]: room.layout.record(document)
            for document in await self._find(room, {"_id": {"$in": wanted}}, limit=len(wanted))
        }
        return [found.get(key) for key in keys]

    async def _write(self, room: _Room, writes: Sequence[Write]) -> list[Outcome]:
        """One batch: what is new in one command, what changes in another, side by side.

        Of a few that are new beside some that change, one command is made: a round trip costs the
        server more than the upserts do.
        """
        new = sum(not write.expected for write in writes)
        together = 0 < new < min(len(writes), FEW)

        def how(write: Write) -> Callable[[_Room, list[Write]], Awaitable[list[Outcome]]]:
            if write.body is None:
                return self._delete
            return self._update if write.expected or together else self._insert

        return await _side_by_side(writes, how, lambda make: partial(make, room))

    async def _insert(self, room: _Room, writes: Sequence[Write]) -> list[Outcome]:
        documents = [room.layout.document(write, self._stamp(write)) for write in writes]
        call = room.documents.insert_many(documents, ordered=False)
        try:
            await self._connection.answer(call)
        except BulkWriteError as error:
            taken = _failed(error)
            return await self._look_up(room, writes, taken, taken)
        return [Outcome.DONE] * len(writes)

    async def _update(self, room: _Room, writes: Sequence[Write]) -> list[Outcome]:
        changes = [room.layout.update(write, self._stamp(write)) for write in writes]
        call = room.documents.bulk_write(changes, ordered=False)
        taken: set[int] = set()
        try:
            result = await self._connection.answer(call)
            if result.matched_count + result.upserted_count == len(writes):
                return [Outcome.DONE] * len(writes)
        except BulkWriteError as error:
            taken = _failed(error)
        return await self._look_up(room, writes, set(range(len(writes))), taken)

    async def _delete(self, room: _Room, writes: Sequence[Write]) -> list[Outcome]:
        # One by one: the answer to many says only how many went. Few are ever deleted by name.
        calls = (
            room.documents.delete_one({"_id": write.key, "_version": write.expected})
            for write in writes
        )
        results = await asyncio.gather(*(self._connection.answer(call) for call in calls))
        return [Outcome.DONE if result.deleted_count else Outcome.CONFLICT for result in results]

    async def _look_up(
        self, room: _Room, writes: Sequence[Write], unclear: set[int], taken: set[int]
    ) -> list[Outcome]:
        """The slow path: which of these are in, by their stamps; the others lost a race.

        Also for a write that is committed again since its first answer was lost: it finds that
        its version has gone, and itself to be the cause.
        """
        keys = [writes[place].key for place in unclear]
        found = await self._find(room, {"_id": {"$in": keys}}, {"_stamps": True}, limit=len(keys))
        stamps = {document["_id"]: document["_stamps"] for document in found}
        outcomes = [Outcome.DONE] * len(writes)
        for place in unclear:
            write = writes[place]
            stored = stamps.get(write.key)
            if stored is not None and self._stamp(write) in stored:
                continue
            # A new record that is not there, though some unique value was: it was not its key's.
            clash = place in taken and (bool(write.expected) or stored is None)
            outcomes[place] = Outcome.DUPLICATE if clash else Outcome.CONFLICT
        return outcomes

    def _stamp(self, write: Write) -> bytes:
        return self._sign + write.number.to_bytes(8, "big")

    # ------------------------------------------------------------------------------ reading

    async def _find(
        self,
        room: _Room,
        filter: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        limit: int,
        sort: Sequence[tuple[str, int]] | None = None,
        hint: str | None = None,
    ) -> list[dict[str, Any]]:
        # The whole answer in one batch: the default is 101 documents, then a second round trip.
        cursor = room.documents.find(
            filter, projection, sort=sort, limit=limit, batch_size=limit, hint=hint
        )
        found: list[dict[str, Any]] = await self._connection.answer(cursor.to_list(None))
        return found

    def _room(self, collection: str) -> _Room:
        self._check_open()
        self._catalog.fields(collection)
        return self._rooms[collection]

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the store of {self._namespace} was closed: make a new one")


async def _side_by_side(
    writes: Sequence[Write],
    kind: Callable[[Write], K],
    maker: Callable[[K], Callable[[list[Write]], Awaitable[list[Outcome]]]],
) -> list[Outcome]:
    """Make the writes of each kind in a call of their own, all at once; outcomes in their order.

    Every call has its writes by key: a server that locks what it changes until all of a batch is
    done (FerretDB) would let two batches of different order wait for each other.
    """
    places: dict[K, list[int]] = {}
    for place, write in sorted(enumerate(writes), key=lambda pair: pair[1].key):
        places.setdefault(kind(write), []).append(place)
    parts = await asyncio.gather(
        *(maker(each)([writes[place] for place in mine]) for each, mine in places.items()),
        return_exceptions=True,  # all have ended when this raises: nothing overlaps a repeat
    )
    outcomes = [Outcome.DONE] * len(writes)
    for mine, part in zip(places.values(), parts, strict=True):
        if isinstance(part, BaseException):
            raise part
        for place, outcome in zip(mine, part, strict=True):
            outcomes[place] = outcome
    return outcomes


def _failed(error: BulkWriteError) -> set[int]:
    return {failed["index"] for failed in error.details["writeErrors"]}
