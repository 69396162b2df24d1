"""One collection as a SQLite table: its statements, and records to and from rows.

Names in statements are checked when declared; values are only ever bound as parameters. A field
may have any name: the engine's own columns begin with an underscore, which no field can.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from sagas.envelope import Message, decode, encode
from sagas.ports import Collection, Outcome, Query, Record, Scalar, Write
from sagas.stores.catalog import check_collection

__all__ = ["Mismatch", "Table"]

#: Keys per SELECT of a load; below SQLite's limit on parameters.
_KEYS = 1024
#: Rows per bulk statement.
_ROWS = 32


class Mismatch(Exception):
    """A bulk update met fewer records than it names, and perhaps changed some: undo it all, then
    make the writes one by one, to see which lost."""


class Table:
    """The statements of one collection, built once so that SQLite's driver prepares them once."""

    def __init__(self, namespace: str, collection: Collection) -> None:
        check_collection(collection)
        self._collection = collection
        self._fields = collection.fields
        self._name = name = f"{namespace}__{collection.name}"
        columns = ["_key", "_version", "_body", "_outbox", "_due", "_expires"]
        columns += [_quoted(field) for field in collection.fields]
        listed = ", ".join(columns)
        self._select = f"SELECT {listed} FROM {name}"
        self._row = f"({_marks(len(columns))})"
        self._insert_head = f"INSERT INTO {name} ({listed})"
        self._insert = f"{self._insert_head} VALUES {self._row}"
        self._assigned = ", ".join(
            f"{column} = new.column{place}" for place, column in enumerate(columns[1:], start=2)
        )
        self._update = (
            f"UPDATE {name} SET {', '.join(f'{column} = ?' for column in columns[1:])} "
            "WHERE _key = ? AND _version = ?"
        )
        self._delete = f"DELETE FROM {name} WHERE _key = ? AND _version = ?"
        self._exists = f"SELECT 1 FROM {name} WHERE _key = ?"
        self._outboxes = f"SELECT _key, _outbox FROM {name} WHERE _outbox IS NOT NULL"
        self._emptied = f"UPDATE {name} SET _outbox = NULL"
        self._settle = f"UPDATE {name} SET _outbox = ? WHERE _key = ?"
        # INDEXED BY: without statistics the planner would rather walk the whole primary key.
        self._due = (
            f"SELECT _due, _key FROM {name} INDEXED BY {name}___due "
            "WHERE _due <= ? ORDER BY _due, _key LIMIT ?"
        )
        self._pending = f"{self._select} INDEXED BY {name}___outbox WHERE _outbox IS NOT NULL"
        self._expire = (
            f"DELETE FROM {name} WHERE _key IN (SELECT _key FROM {name} "
            f"INDEXED BY {name}___expires WHERE _expires <= ? ORDER BY _expires LIMIT ?)"
        )

    def create(self, cursor: sqlite3.Cursor) -> None:
        """Create what is missing: table, columns of a newer declaration, indexes."""
        name = self._name
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {name} (_key TEXT NOT NULL PRIMARY KEY, "
            "_version INTEGER NOT NULL, _body BLOB NOT NULL, _outbox BLOB, _due REAL, "
            "_expires REAL)"
        )
        known = {row[1] for row in cursor.execute(f"PRAGMA table_info({name})")}
        for field in self._fields:
            if field not in known:
                # Without a type: SQLite then keeps values as they are ("1" is not 1).
                cursor.execute(f"ALTER TABLE {name} ADD COLUMN {_quoted(field)}")
        # Partial: most records have none of these, and so cost these indexes nothing.
        for suffix, columns, column in (
            ("_due", "_due, _key", "_due"),
            ("_outbox", "_key", "_outbox"),
            ("_expires", "_expires, _key", "_expires"),
        ):
            cursor.execute(
                f"CREATE INDEX IF NOT EXISTS {name}__{suffix} ON {name} ({columns}) "
                f"WHERE {column} IS NOT NULL"
            )
        for index in self._collection.indexes:
            columns = ", ".join([*map(_quoted, index), "_key"])
            label = "__".join([name, "by", *index])
            cursor.execute(f"CREATE INDEX IF NOT EXISTS {label} ON {name} ({columns})")
        for field in self._collection.unique:
            column = _quoted(field)
            cursor.execute(
                f"CREATE UNIQUE INDEX IF NOT EXISTS {name}__unique__{field} "
                f"ON {name} ({column}) WHERE {column} IS NOT NULL"
            )

    # ------------------------------------------------------------------------------ writing

    def apply_all(
        self, cursor: sqlite3.Cursor, writes: Sequence[Write], one_by_one: bool
    ) -> list[Outcome]:
        """Make these writes, in the writer's transaction; one outcome each, in their order.

        Many rows to a statement: each statement hands the interpreter lock to the event loop's
        thread and has to get it back, which costs more than the statement. Raises ``Mismatch``
        unless ``one_by_one``; a savepoint around each statement would spare that, and double the
        statements of every transaction for what hardly ever happens.
        """
        inserts = [place for place, write in enumerate(writes) if not write.expected]
        updates = [
            place for place, write in enumerate(writes) if write.expected and write.body is not None
        ]
        outcomes = [Outcome.DONE] * len(writes)
        for places, statement in ((inserts, self._insert_many), (updates, self._update_many)):
            for chunk in _chunks(places):
                rows = [(writes[place].key, *self._values(writes[place])) for place in chunk]
                alone = one_by_one or len(chunk) == 1
                if alone or not _bulk(cursor, statement(len(chunk)), rows):
                    for place in chunk:
                        outcomes[place] = self.apply(cursor, writes[place])
        for place, write in enumerate(writes):
            if write.body is None:
                outcomes[place] = self.apply(cursor, write)
        return outcomes

    def _insert_many(self, count: int) -> str:
        return f"{self._insert_head} VALUES {', '.join([self._row] * count)}"

    def _update_many(self, count: int) -> str:
        # FROM VALUES: the new rows are a table of their own, whose columns SQLite names.
        return (
            f"UPDATE {self._name} SET {self._assigned} "
            f"FROM (VALUES {', '.join([self._row] * count)}) AS new "
            f"WHERE {self._name}._key = new.column1 AND {self._name}._version = new.column2 - 1"
        )

    def apply(self, cursor: sqlite3.Cursor, write: Write) -> Outcome:
        """Make one write, in the writer's transaction.

        A constraint fails only its own statement: the transaction stays good for the others.
        """
        expected = write.expected
        try:
            if write.body is None:
                cursor.execute(self._delete, (write.key, expected))
            elif expected:
                parameters = (*self._values(write), write.key, expected)
                cursor.execute(self._update, parameters)
            else:
                cursor.execute(self._insert, (write.key, *self._values(write)))
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
                return Outcome.CONFLICT
            if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                raise
            # Where an insert breaks both rules SQLite names either; a conflict goes first, for
            # what the reload shows may make the duplicate pointless.
            exists = not expected and cursor.execute(self._exists, (write.key,)).fetchone()
            return Outcome.CONFLICT if exists else Outcome.DUPLICATE
        return Outcome.DONE if cursor.rowcount == 1 else Outcome.CONFLICT

    def _values(self, write: Write) -> tuple[Any, ...]:
        outbox = write.outbox
        return (
            write.expected + 1,
            write.body,
            b"[%b]" % b",".join(map(encode, outbox)) if outbox else None,
            write.due,
            write.expires,
            *map(write.fields.get, self._fields),
        )

    def settle(self, cursor: sqlite3.Cursor, sent: Mapping[str, frozenset[str]]) -> None:
        """Take sent messages out of outboxes, in the writer's transaction."""
        empty: list[str] = []
        keys = list(sent)
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS]
            sql = f"{self._outboxes} AND _key IN ({_marks(_padded(part))})"
            for key, outbox in cursor.execute(sql, _pad(part)).fetchall():
                stored = orjson.loads(outbox)
                kept = [message for message in stored if message["id"] not in sent[key]]
                if not kept:
                    empty.append(key)
                elif len(kept) < len(stored):
                    cursor.execute(self._settle, (orjson.dumps(kept), key))
        for start in range(0, len(empty), _KEYS):
            part = empty[start : start + _KEYS]
            sql = f"{self._emptied} WHERE _key IN ({_marks(_padded(part))})"
            cursor.execute(sql, _pad(part))

    def expire(self, cursor: sqlite3.Cursor, now: float, limit: int) -> int:
        """Delete at most ``limit`` records that have expired; how many went."""
        return cursor.execute(self._expire, (now, limit)).rowcount

    # ------------------------------------------------------------------------------ reading

    def load(self, cursor: sqlite3.Cursor, keys: Sequence[str]) -> dict[str, Record]:
        """The records that exist among ``keys``."""
        found: dict[str, Record] = {}
        for start in range(0, len(keys), _KEYS):
            part = keys[start : start + _KEYS]
            sql = f"{self._select} WHERE _key IN ({_marks(_padded(part))})"
            rows = cursor.execute(sql, _pad(part))
            found.update((record.key, record) for record in self._records(rows))
        return found

    def query(self, cursor: sqlite3.Cursor, query: Query) -> list[Record]:
        """One page of a list."""
        conditions: list[str] = []
        parameters: list[Scalar] = []
        for condition, values in _conditions(query):
            conditions.append(condition)
            parameters += values
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        direction = " DESC" if query.descending else ""
        by = f"{_quoted(query.sort)}{direction}, " if query.sort else ""
        sql = f"{self._select}{where} ORDER BY {by}_key{direction} LIMIT ?"
        return list(self._records(cursor.execute(sql, (*parameters, max(query.limit, 0)))))

    def due(self, cursor: sqlite3.Cursor, until: float, limit: int) -> list[tuple[float, str]]:
        """``(due, key)``, earliest first."""
        return cursor.execute(self._due, (until, limit)).fetchall()

    def pending(self, cursor: sqlite3.Cursor, limit: int, after: str | None) -> list[Record]:
        """Records whose outbox is not empty, by key."""
        behind = "" if after is None else " AND _key > ?"
        parameters = (limit,) if after is None else (after, limit)
        rows = cursor.execute(self._pending + f"{behind} ORDER BY _key LIMIT ?", parameters)
        return list(self._records(rows))

    def _records(self, rows: sqlite3.Cursor) -> Iterator[Record]:
        for key, version, body, outbox, due, expires, *values in rows.fetchall():
            fields = dict(zip(self._fields, values, strict=True))
            yield Record(key, version, body, _messages(outbox), due, fields, expires)


def _bulk(cursor: sqlite3.Cursor, sql: str, rows: Sequence[tuple[Any, ...]]) -> bool:
    """Whether every row was written; if not, none was."""
    try:
        done = cursor.execute(sql, [value for row in rows for value in row]).rowcount
    except sqlite3.IntegrityError:
        return False  # which undid the statement
    if done != len(rows):
        raise Mismatch
    return True


def _padded(keys: Sequence[str]) -> int:
    """Parameters for so many keys, up to a power of two: eleven statements to prepare in all."""
    return 1 << (len(keys) - 1).bit_length()


def _pad(keys: Sequence[str]) -> list[str | None]:
    """The keys, and NULL, which equals nothing, up to the padded number."""
    return [*keys, *[None] * (_padded(keys) - len(keys))]


def _chunks(places: list[int]) -> Iterator[list[int]]:
    """Powers of two: a handful of statements to prepare, whatever the number of rows."""
    start = 0
    while start < len(places):
        size = min(1 << (len(places) - start).bit_length() - 1, _ROWS)
        yield places[start : start + size]
        start += size


def _messages(outbox: bytes | None) -> tuple[Message, ...]:
    return () if outbox is None else tuple(map(decode, orjson.loads(outbox)))


def _conditions(query: Query) -> Iterator[tuple[str, list[Scalar]]]:
    for field, wanted in query.where.items():
        # A NULL equals nothing in SQL, not even NULL: it needs a test of its own.
        values = list(wanted) if isinstance(wanted, tuple) else [wanted]
        known: list[Scalar] = [value for value in values if value is not None]
        or_null = f" OR {_quoted(field)} IS NULL" if len(known) < len(values) else ""
        yield f"({_quoted(field)} IN ({_marks(len(known))}){or_null})", known
    for field, lowest in query.at_least.items():
        yield f"{_quoted(field)} >= ?", [lowest]
    for field, highest in query.at_most.items():
        yield f"{_quoted(field)} <= ?", [highest]
    for field, text in query.contains.items():
        # instr, not LIKE: the text is plain. SQLite's lower() knows ASCII only, as promised.
        yield f"instr(lower({_quoted(field)}), lower(?)) > 0", [text]
    if query.after is not None:
        yield _behind(query, *query.after)


def _behind(query: Query, value: Scalar, key: str) -> tuple[str, list[Scalar]]:
    """What comes after the last record of the page before. NULL sorts below every value."""
    beyond = "<" if query.descending else ">"
    if query.sort is None:
        return f"_key {beyond} ?", [key]
    field = _quoted(query.sort)
    if value is None:
        same = f"({field} IS NULL AND _key {beyond} ?)"
        return (same if query.descending else f"({same} OR {field} IS NOT NULL)"), [key]
    behind = f"({field}, _key) {beyond} (?, ?)"
    return (f"({behind} OR {field} IS NULL)" if query.descending else behind), [value, key]


def _quoted(field: str) -> str:
    return f'"{field}"'  # a field may be called like a keyword: order, group


def _marks(count: int) -> str:
    return ", ".join("?" * count)
