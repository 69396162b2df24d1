"""The SQLite store when the disk is full, the file is locked or the process is killed."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Write
from sagas.stores.sqlite import SqliteDatabase, SqliteStore

ORDERS = Collection("orders", ("status", "total"))
ROOT = Path(__file__).parent.parent


def order(key: str, body: bytes = b"{}") -> Write:
    return Write("orders", key, 0, body)


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


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow: a real fault of writing, without a real full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ----------------------------------------------------------------------------------- faults


async def test_a_locked_file_is_unavailable_and_then_works_again(path: Path) -> None:
    database = SqliteDatabase(path, busy_timeout_ms=20)
    store = database.store("shop")
    await store.open([ORDERS])
    with locked(path):
        commits = [store.commit([order(f"o{n}")]) for n in range(3)]
        results = await asyncio.gather(*commits, return_exceptions=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)
        assert str(path) in str(results[0])
        assert "another process holds its write lock" in str(results[0])
        await store.ping()  # it can still be read
    assert await store.commit([order("o0")]) == [Outcome.DONE]
    await database.close()


async def test_a_full_disk_is_unavailable_and_then_works_again(
    path: Path, store: SqliteStore
) -> None:
    await store.commit([order("before", body=b"kept")])
    with full_disk():
        big = [store.commit([order(f"o{n}", body=bytes(100_000))]) for n in range(3)]
        results = await asyncio.gather(*big, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert str(path) in str(results[0])
    assert "disk" in str(results[0])
    assert await store.commit([order("o0", body=bytes(100_000))]) == [Outcome.DONE]
    found = await store.load("orders", ["before", "o0", "o1", "o2"])
    assert set(found) == {"before", "o0"}


async def test_a_missing_folder_is_told_and_may_appear_later(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "later" / "shop.db")
    store = database.store("shop")
    for call in (store.ping, lambda: store.open([ORDERS])):
        with pytest.raises(StoreUnavailable, match="create its folder"):
            await call()
    (tmp_path / "later").mkdir()
    await store.open([ORDERS])
    await store.ping()
    await database.close()


async def test_a_file_that_is_no_database_is_told() -> None:
    database = SqliteDatabase(Path(__file__))
    with pytest.raises(StoreUnavailable, match="choose another path"):
        await database.store("shop").open([ORDERS])
    await database.close()


# ------------------------------------------------------------------------------------ crash

_COMMIT_FOR_EVER = """
import asyncio, sys
from pathlib import Path
from sagas.envelope import Message
from sagas.ports import Collection, Write
from sagas.stores.sqlite import SqliteDatabase

async def work(store, name):
    for n in range(1_000_000):
        key = f"{name}-{n}"
        message = Message(id=key, type="T", source="s", subject=key, saga_id=None, time=0.0)
        await store.commit([Write("orders", key, 0, key.encode(), (message,), due=1.0)])
        print("DONE", key, flush=True)

async def main():
    store = SqliteDatabase(Path(sys.argv[1])).store("shop")
    await store.open([Collection("orders", ("status", "total"))])
    await asyncio.gather(*(work(store, name) for name in range(20)))

asyncio.run(main())
"""


async def test_what_was_reported_done_survives_kill_9(path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _COMMIT_FOR_EVER, str(path), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    keys: list[str] = []
    async for line in process.stdout:
        if len(keys) == 1000:
            process.send_signal(signal.SIGKILL)
        # What it wrote to the pipe before it died was reported as well. A line may be cut short.
        if line.endswith(b"\n"):
            keys.append(line.decode().removeprefix("DONE ").strip())
    assert await process.wait() == -signal.SIGKILL
    assert len(keys) > 1000

    database = SqliteDatabase(path)
    store = database.store("shop")
    await store.open([ORDERS])
    found = await store.load("orders", keys)
    assert {key: record.body for key, record in found.items()} == {k: k.encode() for k in keys}
    # Body, timer and outbox went in together, also for what was stored but not reported yet.
    total = len(await store.query("orders", Query(limit=1_000_000)))
    assert len(await store.pending("orders", 1_000_000)) == total
    assert len(await store.due("orders", 1.0, 1_000_000)) == total
    await database.close()
    with contextlib.closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_commits_are_synced_to_disk(store: SqliteStore) -> None:
    """A power cut cannot be tried here; that each commit is written through can."""

    def settings(cursor: sqlite3.Cursor) -> list[object]:
        names = ("synchronous", "journal_mode")
        return [cursor.execute(f"PRAGMA {name}").fetchone()[0] for name in names]

    full = 2
    assert await store._writer.run(settings) == [full, "wal"]
