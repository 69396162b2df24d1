"""The SQLite store beyond the port: group commit, threads, query plans, closing."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagas.envelope import Message
from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Write
from sagas.stores.sqlite import SqliteDatabase, SqliteStore

ORDERS = Collection("orders", ("status", "total"), (("status", "total"),), unique=("total",))


def order(key: str, expected: int = 0, body: bytes = b"{}", **fields: str | int) -> Write:
    return Write("orders", key, expected, body, fields=fields)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[SqliteDatabase]:
    database = SqliteDatabase(path)
    yield database
    await database.close()


@pytest.fixture
async def store(database: SqliteDatabase) -> SqliteStore:
    store = database.store("shop")
    await store.open([ORDERS])
    return store


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the file's write lock, as another process would."""
    other = sqlite3.connect(path, isolation_level=None, timeout=60)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


# ------------------------------------------------------------------------------ group commit


async def test_commits_that_are_ready_together_share_a_transaction(
    database: SqliteDatabase, store: SqliteStore
) -> None:
    before = database.transactions
    outcomes = await asyncio.gather(*(store.commit([order(f"o{n}")]) for n in range(500)))
    assert outcomes == [[Outcome.DONE]] * 500
    assert database.transactions - before < 50


async def test_services_share_transactions_but_not_tables(database: SqliteDatabase) -> None:
    stores = [database.store(f"service_{n}") for n in range(50)]
    await asyncio.gather(*(store.open([ORDERS]) for store in stores))
    before = database.transactions
    outcomes = await asyncio.gather(*(store.commit([order("o1", total=1)]) for store in stores))
    assert outcomes == [[Outcome.DONE]] * 50
    assert database.transactions - before < 10


async def test_one_at_a_time_nothing_waits_for_a_group_to_fill(
    database: SqliteDatabase, store: SqliteStore
) -> None:
    before = database.transactions
    for n in range(20):
        await store.commit([order(f"o{n}")])
    assert database.transactions - before == 20


async def test_a_refused_write_spoils_nothing_for_its_group(path: Path, store: SqliteStore) -> None:
    with locked(path):
        commits = [
            asyncio.create_task(store.commit([order(key, total=total)]))
            for key, total in (("a", 1), ("b", 1), ("a", 2), ("c", 3))
        ]
        await asyncio.sleep(0)
    outcomes = [outcome.value for (outcome,) in await asyncio.gather(*commits)]
    assert outcomes == ["done", "duplicate", "conflict", "done"]


async def test_a_value_that_cannot_be_stored_fails_its_own_commit_only(store: SqliteStore) -> None:
    good = [store.commit([order(f"o{n}")]) for n in range(5)]
    bad = [
        store.commit([order("beside"), order("huge", total=2**70)]),
        store.commit([order("beside"), order("surrogate", status="\ud800")]),
        store.commit([order("beside"), order("list", status=["x"])]),  # type: ignore[arg-type]
    ]
    results = await asyncio.gather(*good, *bad, return_exceptions=True)
    assert results[:5] == [[Outcome.DONE]] * 5
    assert [type(result) for result in results[5:]] == [ValueError] * 3
    assert await store.load("orders", ["beside", "huge", "surrogate", "list"]) == {}
    with pytest.raises(ValueError, match="cannot store or look for"):
        await store.query("orders", Query(where={"total": 2**70}))


# --------------------------------------------------------------------------------- the loop


async def test_the_event_loop_runs_while_a_commit_waits(path: Path) -> None:
    database = SqliteDatabase(path)
    store = database.store("shop")
    await store.open([ORDERS])
    with locked(path):
        commit = asyncio.create_task(store.commit([order("o1")]))
        for _ in range(1000):
            await asyncio.sleep(0)  # a blocked loop would never get to let the lock go
        assert not commit.done()
        assert await store.load("orders", ["o1"]) == {}  # and readers do not wait for writers
    assert await commit == [Outcome.DONE]
    await database.close()


async def test_no_statement_runs_on_the_event_loops_thread(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    for table in store._tables.values():
        for name in ("load", "query", "due", "pending", "settle", "expire", "apply"):
            real = getattr(table, name)

            def recording(*args: object, real: object = real, **kwargs: object) -> object:
                threads.add(threading.current_thread().name)
                return real(*args, **kwargs)  # type: ignore[operator]

            monkeypatch.setattr(table, name, recording)
    await store.commit([order("o1")])
    await store.load("orders", ["o1"])
    await store.query("orders", Query())
    await store.due("orders", 1.0, 1)
    await store.pending("orders", 1)
    await store.settle("orders", {"o1": frozenset()})
    await store.expire("orders", 1.0, 1)
    assert threads == {"sqlite-writer", "sqlite-loader", "sqlite-lister"}


async def test_commits_await_room_when_too_many_wait(path: Path) -> None:
    database = SqliteDatabase(path, waiting_limit=10)
    store = database.store("shop")
    await store.open([ORDERS])
    with locked(path):
        commits = [
            asyncio.create_task(store.commit([order(f"o{n}-{k}") for k in range(4)]))
            for n in range(6)
        ]
        larger = asyncio.create_task(store.commit([order(f"large-{k}") for k in range(25)]))
        await asyncio.sleep(0)
        commits[3].cancel()
    assert await larger == [Outcome.DONE] * 25
    for commit in (*commits[:3], *commits[4:]):
        assert await commit == [Outcome.DONE] * 4
    assert await store.load("orders", ["o3-0"]) == {}  # cancelled before there was room
    await database.close()


async def test_a_cancelled_commit_leaves_the_others_alone(path: Path, store: SqliteStore) -> None:
    with locked(path):
        commits = [asyncio.create_task(store.commit([order(f"o{n}")])) for n in range(3)]
        await asyncio.sleep(0)
        commits[1].cancel()
    results = await asyncio.gather(*commits, return_exceptions=True)
    assert results[::2] == [[Outcome.DONE]] * 2
    assert isinstance(results[1], asyncio.CancelledError)


# ----------------------------------------------------------------------------------- plans


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        ("_due", "shop__orders___due"),
        ("_pending", "shop__orders___outbox"),
        ("_expire", "shop__orders___expires"),
    ],
)
async def test_rare_records_are_found_by_their_index(
    store: SqliteStore, path: Path, statement: str, index: str
) -> None:
    sql = getattr(store._tables["orders"], statement)
    with contextlib.closing(sqlite3.connect(path)) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {sql}", (1,) * sql.count("?")).fetchall()
    assert any(index in row[-1] for row in plan)
    assert not any("TEMP B-TREE" in row[-1] for row in plan)


async def test_a_page_of_a_list_is_found_by_the_collections_index(
    store: SqliteStore, path: Path
) -> None:
    statements: list[str] = []

    def traced(cursor: sqlite3.Cursor) -> None:
        cursor.connection.set_trace_callback(statements.append)
        page = Query(where={"status": "paid"}, sort="total", descending=True, after=(5, "o5"))
        store._tables["orders"].query(cursor, page)

    await store._lister.run(traced)
    with contextlib.closing(sqlite3.connect(path)) as file:
        plan = file.execute(f"EXPLAIN QUERY PLAN {statements[-1]}").fetchall()
    assert any("shop__orders__by__status__total" in row[-1] for row in plan)
    assert not any("TEMP B-TREE" in row[-1] for row in plan)


# ------------------------------------------------------------------------------------ closing


async def test_closing_the_database_finishes_what_it_accepted(path: Path) -> None:
    database = SqliteDatabase(path)
    store = database.store("shop")
    await store.open([ORDERS])
    commits = [asyncio.create_task(store.commit([order(f"o{n}")])) for n in range(100)]
    await asyncio.sleep(0)
    await database.close()
    await database.close()
    assert await asyncio.gather(*commits) == [[Outcome.DONE]] * 100
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.ping()
    await store.close()


async def test_closing_one_service_leaves_the_others_open(database: SqliteDatabase) -> None:
    payment, shipping = database.store("payment"), database.store("shipping")
    for store in (payment, shipping):
        await store.open([ORDERS])
    await payment.close()
    assert await shipping.commit([order("o1")]) == [Outcome.DONE]


async def test_two_processes_may_share_the_file(path: Path, store: SqliteStore) -> None:
    other = SqliteDatabase(path)
    theirs = other.store("shop")
    await theirs.open([ORDERS])
    mine = [store.commit([order(f"o{n}")]) for n in range(50)]
    others = [theirs.commit([order(f"o{n}")]) for n in range(50)]
    results = await asyncio.gather(*mine, *others)
    outcomes = [outcome for (outcome,) in results]
    assert (outcomes.count(Outcome.DONE), outcomes.count(Outcome.CONFLICT)) == (50, 50)
    await other.close()


async def test_a_database_belongs_to_one_event_loop(store: SqliteStore) -> None:
    def elsewhere() -> None:
        asyncio.run(store.expire("orders", 1.0, 1))

    with pytest.raises(RuntimeError, match="another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_stored_messages_carry_no_event_objects(store: SqliteStore) -> None:
    message = Message(id="m", type="T", source="s", subject="x", saga_id=None, time=0.0)
    await store.commit([Write("orders", "o1", 0, b"{}", outbox=(message,))])
    assert (await store.load("orders", ["o1"]))["o1"].outbox[0].event is None
