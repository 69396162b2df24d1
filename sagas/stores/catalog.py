"""What a store was opened with. Refuses, before any I/O, whatever is not declared there.

Every back end asks the same catalog, so that a name or write which one of them cannot take fails
on all of them, first of all in the tests that run in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sagas.ports import Collection, Query, Write

__all__ = ["Catalog", "check_name"]

#: What tables and columns may be called. A double underscore is ours: it joins namespace and name.
_NAME = re.compile(r"(?!.*__)[a-z][a-z0-9_]*")


def check_name(name: str) -> str:
    """``name``, if it may become part of a table's or column's name; else ``ValueError``."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a namespace, collection or field: "
            "use lower-case letters, digits and single underscores, a letter first"
        )
    return name


class Catalog:
    """The declared collections of one store."""

    def __init__(self) -> None:
        self._fields: dict[str, frozenset[str]] = {}

    def declare(self, collections: Iterable[Collection]) -> None:
        """Allow these collections from now on; a repeated name replaces the earlier one."""
        for collection in collections:
            self._fields[collection.name] = frozenset(collection.fields)

    def fields(self, collection: str) -> frozenset[str]:
        """The fields of ``collection``; ``ValueError`` when it is unknown."""
        try:
            return self._fields[collection]
        except KeyError:
            raise ValueError(
                f"collection {collection!r} is not declared: pass it to open() first"
            ) from None

    def check_writes(self, writes: Sequence[Write]) -> None:
        """``ValueError`` when a write names what is not declared, or two name one record."""
        for write in writes:
            fields = self.fields(write.collection)
            if not write.fields.keys() <= fields:
                raise _unknown_field(write.collection, write.fields.keys() - fields)
            if write.expected < (1 if write.body is None else 0):
                raise ValueError(
                    f"{write.collection}/{write.key}: expected={write.expected} is no version "
                    "that can be replaced or deleted; load the record and pass its version"
                )
        if len({(write.collection, write.key) for write in writes}) < len(writes):
            raise ValueError("two writes of one commit name the same record: make them one write")

    def check_query(self, collection: str, query: Query) -> None:
        """``ValueError`` when the query names a field that is not declared."""
        named = {*query.where, *query.at_least, *query.at_most, *query.contains}
        if query.sort is not None:
            named.add(query.sort)
        if unknown := named - self.fields(collection):
            raise _unknown_field(collection, unknown)


def check_collection(collection: Collection) -> None:
    """``ValueError`` when a declaration has a bad name, or indexes what is not a field."""
    check_name(collection.name)
    for name in collection.fields:
        check_name(name)
    indexed = {*collection.unique, *(name for index in collection.indexes for name in index)}
    if unknown := indexed - set(collection.fields):
        raise _unknown_field(collection.name, unknown)


def _unknown_field(collection: str, names: Iterable[str]) -> ValueError:
    listed = ", ".join(sorted(names))
    return ValueError(f"{collection!r} has no field {listed}: add it to the collection's fields")
