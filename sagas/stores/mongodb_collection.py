"""One collection on the server: written and read in batches, by commands that are few.

A batch is what gathered while the one before was away. Where a command's answer leaves open which
of its writes were made, the stamps in the documents tell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from pymongo import DeleteOne, timeout
from pymongo.errors import BulkWriteError

from sagas.ports import Outcome, Query, Record, Write
from sagas.stores.batches import Batches
from sagas.stores.mongodb_driver import Connection
from sagas.stores.mongodb_layout import Layout

__all__ = ["MongoCollection", "side_by_side"]

#: Of a collection that is there already a new index may take long; a repeat goes on waiting.
INDEX_S = 60.0
#: An upsert costs FerretDB 0.1 ms more than an insert, and a command 1.5 ms.
FEW = 16

Make = Callable[[list[Write]], Awaitable[list[Outcome]]]


class MongoCollection:
    """``documents`` is the driver's; ``sign`` begins the stamps of this process's writes."""

    def __init__(self, layout: Layout, documents: Any, connection: Connection, sign: bytes) -> None:
        self.layout = layout
        self.write = Batches[Write, Outcome](self._write)
        self.read = Batches[str, Record | None](self._read)
        self._documents = documents
        self._connection = connection
        self._sign = sign

    async def create(self) -> None:
        """Make it and its indexes, unless they are there."""
        with timeout(INDEX_S):
            create = self._documents.create_indexes(self.layout.indexes())
            await self._connection.answer(create, INDEX_S)

    # ------------------------------------------------------------------------------ batches

    async def _read(self, keys: Sequence[str]) -> list[Record | None]:
        wanted = list(dict.fromkeys(keys))
        found = {
            document["_id"]: self.layout.record(document)
            for document in await self._find({"_id": {"$in": wanted}}, limit=len(wanted))
        }
        return [found.get(key) for key in keys]

    async def _write(self, writes: Sequence[Write]) -> list[Outcome]:
        """One batch: what is new in one command, what changes in another, side by side.

        Of a few that are new beside some that change, one command is made: a round trip costs the
        server more than the upserts do.
        """
        new = sum(not write.expected for write in writes)
        together = 0 < new < min(len(writes), FEW)

        def how(write: Write) -> Make:
            if write.body is None:
                return self._delete
            return self._update if write.expected or together else self._insert

        return await side_by_side(writes, how)

    async def _insert(self, writes: Sequence[Write]) -> list[Outcome]:
        documents = [self.layout.document(write, self._stamp(write)) for write in writes]
        call = self._documents.insert_many(documents, ordered=False)
        try:
            await self._connection.answer(call)
        except BulkWriteError as error:
            taken = _failed(error)
            return await self._look_up(writes, taken, taken)
        return [Outcome.DONE] * len(writes)

    async def _update(self, writes: Sequence[Write]) -> list[Outcome]:
        changes = [self.layout.update(write, self._stamp(write)) for write in writes]
        call = self._documents.bulk_write(changes, ordered=False)
        taken: set[int] = set()
        try:
            result = await self._connection.answer(call)
            if result.matched_count + result.upserted_count == len(writes):
                return [Outcome.DONE] * len(writes)
        except BulkWriteError as error:
            taken = _failed(error)
        return await self._look_up(writes, set(range(len(writes))), taken)

    async def _delete(self, writes: Sequence[Write]) -> list[Outcome]:
        """The answer to many says only how many went. So those that can go are looked up before;
        if another process took one of them in between, whose those are that are gone nobody can
        tell, and all of them count as lost: they are gone in any case.
        """
        keys = [write.key for write in writes]
        found = await self._find({"_id": {"$in": keys}}, {"_version": True}, limit=len(keys))
        versions = {document["_id"]: document["_version"] for document in found}
        going = {write.key for write in writes if versions.get(write.key) == write.expected}
        if going:
            changes = [
                DeleteOne({"_id": write.key, "_version": write.expected})
                for write in writes
                if write.key in going
            ]
            call = self._documents.bulk_write(changes, ordered=False)
            if (await self._connection.answer(call)).deleted_count < len(going):
                going = set()
        return [Outcome.DONE if key in going else Outcome.CONFLICT for key in keys]

    async def _look_up(
        self, writes: Sequence[Write], unclear: set[int], taken: set[int]
    ) -> list[Outcome]:
        """The slow path: which of these are in, by their stamps; the others lost a race.

        Also for a write that is committed again since its first answer was lost: it finds that
        its version has gone, and itself to be the cause.
        """
        keys = [writes[place].key for place in unclear]
        found = await self._find({"_id": {"$in": keys}}, {"_stamps": True}, limit=len(keys))
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

    # -------------------------------------------------------------------- timers and outboxes

    async def due(self, until: float, limit: int) -> list[tuple[float, str]]:
        """``(due, key)``, earliest first."""
        found = await self._find(
            # That it exists goes without saying, but says that the partial index has them all.
            {"_due": {"$exists": True, "$lte": until}},
            {"_due": True},
            sort=[("_due", 1), ("_id", 1)],
            limit=limit,
            hint="due",
        )
        return [(document["_due"], document["_id"]) for document in found]

    async def pending(self, limit: int, after: str | None) -> list[Record]:
        """Records whose outbox is not empty, by key."""
        behind = {"$gte": ""} if after is None else {"$gt": after}
        found = await self._find(
            {"_waits": behind}, sort=[("_waits", 1)], limit=limit, hint="outbox"
        )
        return [self.layout.record(document) for document in found]

    async def settle(self, sent: Mapping[str, frozenset[str]]) -> None:
        """Take sent messages out of outboxes."""
        if sent:
            changes = self.layout.settle(sent)
            await self._connection.answer(self._documents.bulk_write(changes, ordered=True))

    async def expire(self, now: float, limit: int) -> int:
        """Delete at most ``limit`` records that have expired; how many went."""
        expired = {"_expires": {"$lte": now}}
        found = await self._find(
            expired, {"_id": True}, sort=[("_expires", 1)], limit=limit, hint="expires"
        )
        if not found:
            return 0
        # The condition again: one that was written meanwhile may have more time now.
        gone = {"_id": {"$in": [document["_id"] for document in found]}, **expired}
        result = await self._connection.answer(self._documents.delete_many(gone))
        return int(result.deleted_count)

    # ------------------------------------------------------------------------------ reading

    async def query(self, query: Query) -> list[Record]:
        """One page of a list."""
        if query.limit <= 0:
            return []  # to the server, 0 means all
        layout = self.layout
        found = await self._find(
            layout.filter(query),
            sort=layout.order(query),
            limit=query.limit,
            hint=layout.hint(query),
        )
        return [layout.record(document) for document in found]

    async def _find(
        self,
        filter: Mapping[str, Any],
        projection: Mapping[str, Any] | None = None,
        *,
        limit: int,
        sort: Sequence[tuple[str, int]] | None = None,
        hint: str | None = None,
    ) -> list[dict[str, Any]]:
        # The whole answer in one batch: the default is 101 documents, then a second round trip.
        cursor = self._documents.find(
            filter, projection, sort=sort, limit=limit, batch_size=limit, hint=hint
        )
        found: list[dict[str, Any]] = await self._connection.answer(cursor.to_list(None))
        return found


async def side_by_side(writes: Sequence[Write], how: Callable[[Write], Make]) -> list[Outcome]:
    """Make the writes, those of one way in one call, all calls at once; outcomes in their order.

    Every call has its writes by key: a server that locks what it changes until all of a batch is
    done (FerretDB) would let two batches of different order wait for each other.
    """
    places: dict[Make, list[int]] = {}
    for place, write in sorted(enumerate(writes), key=lambda pair: pair[1].key):
        places.setdefault(how(write), []).append(place)
    parts = await asyncio.gather(
        *(make([writes[place] for place in mine]) for make, mine in places.items()),
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
