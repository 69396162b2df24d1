"""One collection in MongoDB: records to and from documents, queries to filters, and the indexes.

A document is ``{_id: key, _version, _body, _outbox, _due, _expires, …fields}``. What a record does
not have is left out, so that sparse indexes cost only the few documents that do. Field names are
checked when declared; the engine's own begin with an underscore, which no field's can.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateMany, UpdateOne

from sagas.envelope import Message, decode, encode
from sagas.ports import Collection, Query, Record, Scalar, Write
from sagas.stores.catalog import check_collection

__all__ = ["STAMPS", "Layout"]

Document = dict[str, Any]

#: How many of its last writes a document remembers, by their stamps. A write whose answer was lost
#: is found here when it is repeated, even if others wrote on top of it meanwhile.
STAMPS: Final = 8


class Layout:
    """How records of one collection look as documents."""

    def __init__(self, collection: Collection) -> None:
        check_collection(collection)
        self.name = collection.name
        self._collection = collection
        self._fields = collection.fields

    def indexes(self) -> list[IndexModel]:
        """All that queries need; each has a name of its own, so that creating it again is safe."""
        found = [
            # Partial, since a sparse index of several fields takes in whatever has one of them.
            IndexModel(
                [("_due", ASCENDING), ("_id", ASCENDING)],
                name="due",
                partialFilterExpression={"_due": {"$exists": True}},
            ),
            IndexModel([("_waits", ASCENDING)], name="outbox", sparse=True),
            IndexModel([("_expires", ASCENDING)], name="expires", sparse=True),
        ]
        for index in self._collection.indexes:
            keys = [(name, ASCENDING) for name in (*index, "_id")]
            found.append(IndexModel(keys, name=_name(index)))
        for name in self._collection.unique:
            # Sparse, and nothing is left out: two documents without a value do not clash.
            found.append(
                IndexModel([(name, ASCENDING)], name=f"unique__{name}", unique=True, sparse=True)
            )
        return found

    # ------------------------------------------------------------------------------ writing

    def document(self, write: Write, stamp: bytes) -> Document:
        """A new record."""
        return {"_id": write.key, **self._state(write), "_stamps": [stamp]}

    def update(self, write: Write, stamp: bytes) -> UpdateOne:
        """The next version of a record, if the one it was decided on is still there.

        Also for a new one: no stored version is 0, so where its key is taken this fails as a
        duplicate of ``_id``, as an insert does.
        """
        state = self._state(write)
        change: Document = {
            "$set": state,
            "$push": {"_stamps": {"$each": [stamp], "$slice": -STAMPS}},
        }
        if absent := [name for name in self._optional() if name not in state]:
            change["$unset"] = dict.fromkeys(absent, "")
        decided_on = {"_id": write.key, "_version": write.expected}
        return UpdateOne(decided_on, change, upsert=not write.expected)

    def _optional(self) -> Iterable[str]:
        return ("_outbox", "_waits", "_due", "_expires", *self._fields)

    def _state(self, write: Write) -> Document:
        state: Document = {"_version": write.expected + 1, "_body": write.body}
        for name in self._fields:
            if (value := write.fields.get(name)) is not None:
                state[name] = _stored(value)
        if write.outbox:
            state["_outbox"] = [
                {"id": message.id, "event": encode(message)} for message in write.outbox
            ]
            # The key again, for an index of those few alone whose outbox is not empty.
            state["_waits"] = write.key
        if write.due is not None:
            state["_due"] = write.due
        if write.expires is not None:
            state["_expires"] = write.expires
        return state

    def settle(self, sent: Mapping[str, Iterable[str]]) -> list[UpdateOne | UpdateMany]:
        """Take sent messages out of outboxes; to be done in this order."""
        changes: list[UpdateOne | UpdateMany] = [
            UpdateOne({"_id": key}, {"$pull": {"_outbox": {"id": {"$in": list(ids)}}}})
            for key, ids in sorted(sent.items())
            if ids
        ]
        emptied = {"_id": {"$in": list(sent)}, "_outbox": []}
        changes.append(UpdateMany(emptied, {"$unset": {"_outbox": "", "_waits": ""}}))
        return changes

    # ------------------------------------------------------------------------------ reading

    def record(self, document: Mapping[str, Any]) -> Record:
        """A stored document as a record, with every declared field."""
        return Record(
            document["_id"],
            document["_version"],
            document["_body"],
            tuple(_message(entry) for entry in document.get("_outbox", ())),
            document.get("_due"),
            {name: document.get(name) for name in self._fields},
            document.get("_expires"),
        )

    def filter(self, query: Query) -> Document:
        """The documents of a page, and all behind them."""
        conditions: list[Document] = []
        for name, wanted in query.where.items():
            if isinstance(wanted, tuple):
                conditions.append({name: {"$in": [_stored(value) for value in wanted]}})
            else:
                conditions.append({name: _stored(wanted)})
        conditions += [{name: {"$gte": _stored(low)}} for name, low in query.at_least.items()]
        conditions += [{name: {"$lte": _stored(high)}} for name, high in query.at_most.items()]
        conditions += [{name: {"$regex": _plain(text)}} for name, text in query.contains.items()]
        if query.after is not None:
            conditions += _behind(query, *query.after)
        if len(conditions) == 1:
            return conditions[0]
        return {"$and": conditions} if conditions else {}

    def hint(self, query: Query) -> str | None:
        """The index that gives a page in its order, so that the server reads no more than the page.

        Planners guess, and where they guess that few documents match they collect and sort them
        all. An index serves when its fields are those that are asked for by one value each, then
        the one that is sorted by; the longest is the best.
        """
        fixed = {name for name, wanted in query.where.items() if not isinstance(wanted, tuple)}
        for name in fixed.intersection(self._collection.unique):
            if query.where[name] is not None:  # its index has no documents without a value
                return f"unique__{name}"
        sorts = () if query.sort is None else (query.sort,)
        fitting = [
            index
            for index in self._collection.indexes
            if index[len(index) - len(sorts) :] == sorts
            and fixed.issuperset(index[: len(index) - len(sorts)])
        ]
        if fitting:
            return _name(max(fitting, key=len))
        selective = {*self._collection.unique, *(index[0] for index in self._collection.indexes)}
        return None if sorts or selective.intersection(query.where) else "_id_"

    def order(self, query: Query) -> list[tuple[str, int]]:
        """What a page is sorted by. MongoDB, too, sorts nothing below every value."""
        direction = DESCENDING if query.descending else ASCENDING
        by_key = [("_id", direction)]
        return by_key if query.sort is None else [(query.sort, direction), *by_key]


def _name(index: tuple[str, ...]) -> str:
    return "__".join(["by", *index])


def _message(entry: Mapping[str, Any]) -> Message:
    return decode(entry["event"])


def _stored(value: Scalar) -> Scalar:
    # Python holds True equal to 1, and so do the other stores; MongoDB would not.
    return int(value) if isinstance(value, bool) else value


def _plain(text: str) -> str:
    """A pattern that finds ``text``, ignoring the case of ASCII letters and of no others."""
    return "".join(
        f"[{sign.lower()}{sign.upper()}]" if sign.isascii() and sign.isalpha() else re.escape(sign)
        for sign in text
    )


def _behind(query: Query, value: Scalar, key: str) -> list[Document]:
    """What comes after the last record of the page before."""
    beyond = "$lt" if query.descending else "$gt"
    if query.sort is None:
        return [{"_id": {beyond: key}}]
    name = query.sort
    if value is None:
        same: Document = {name: None, "_id": {beyond: key}}
        return [same if query.descending else {"$or": [same, {name: {"$exists": True}}]}]
    value = _stored(value)
    behind: list[Document] = [{name: {beyond: value}}, {name: value, "_id": {beyond: key}}]
    if query.descending and name not in {*query.at_least, *query.at_most}:
        return [{"$or": [*behind, {name: None}]}]
    # The bound beside the alternatives is one range of an index, which they alone are not.
    return [{name: {f"{beyond}e": value}}, {"$or": behind}]
