"""Threads that own a SQLite connection and serve, group by group, whatever has gathered.

SQLite blocks its caller, so no statement runs on the event loop. A group is what came while the
group before was served; nothing ever waits for one to fill. That makes one ``fsync`` pay for all
writes that were ready at the same time, and one wake-up of the event loop for all their answers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from sagas.errors import StoreUnavailable
from sagas.stores.sqlite_table import Mismatch

__all__ = ["Lane", "WriteLane"]

T = TypeVar("T")
Work = Callable[[sqlite3.Cursor], T]

#: How SQLite says that a value cannot be stored: the caller's fault, not an outage.
_BAD_VALUE = (
    sqlite3.DataError,
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
)

_ADVICE = {
    sqlite3.SQLITE_BUSY: "another process holds its write lock: stop that process",
    sqlite3.SQLITE_LOCKED: "another process holds its write lock: stop that process",
    sqlite3.SQLITE_FULL: "free space on its disk",
    sqlite3.SQLITE_IOERR: "check its disk for free space, quota and faults",
    sqlite3.SQLITE_READONLY: "make the file and its folder writable",
    sqlite3.SQLITE_CANTOPEN: "create its folder and make it writable",
    sqlite3.SQLITE_CORRUPT: "restore it from a backup",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database: choose another path",
}


class _Job:
    """Work for the thread, and the future that waits for it on the event loop."""

    __slots__ = ("error", "future", "result", "weight", "work")

    def __init__(self, work: Work[Any], future: asyncio.Future[Any], weight: int) -> None:
        self.work = work
        self.future = future
        self.weight = weight
        self.result: Any = None
        self.error: Exception | None = None


class Lane:
    """One thread with one connection. This one reads; ``WriteLane`` writes.

    ``bound`` is the weight of the jobs that may wait or be served at a time; more await room.
    """

    def __init__(self, path: Path, name: str, busy_timeout_ms: int, bound: int) -> None:
        self._path = path
        self._name = name
        self._busy_timeout_ms = busy_timeout_ms
        self._bound = bound
        self._inbox: SimpleQueue[list[_Job] | None] = SimpleQueue()
        #: What came in this turn of the event loop: it wakes the thread once.
        self._outgoing: list[_Job] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False
        self._load = 0
        self._turnstile = asyncio.Lock()
        self._freed = asyncio.Event()
        self._open_cursor: sqlite3.Cursor | None = None

    # ------------------------------------------------------------------- on the event loop

    async def run(self, work: Work[T], weight: int = 1) -> T:
        """Have the thread do ``work``; its result, or what it raised."""
        if self._load + weight > self._bound or self._turnstile.locked():
            await self._room(weight)
        if self._closed:
            raise StoreUnavailable(f"{self._path} was closed: open a new SqliteDatabase")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._start(loop)
        job = _Job(work, loop.create_future(), weight)
        self._load += weight
        self._outgoing.append(job)
        if len(self._outgoing) == 1:
            loop.call_soon(self._send)
        result: T = await job.future
        return result

    def _send(self) -> None:
        if self._outgoing:
            self._inbox.put(self._outgoing)
            self._outgoing = []

    def stop(self) -> None:
        """Take no more work. What was taken is still done; ``join`` waits for it."""
        if not self._closed:
            self._closed = True
            self._freed.set()
            self._send()
            self._inbox.put(None)

    def join(self) -> None:
        """Block until the thread is gone; not for the event loop."""
        if self._thread is not None:
            self._thread.join()

    async def _room(self, weight: int) -> None:
        # The lock is the queue of those who wait: first come, first served, and one that is
        # cancelled leaves no trace. A job heavier than the bound goes when it is alone.
        async with self._turnstile:
            while self._load and self._load + weight > self._bound and not self._closed:
                self._freed.clear()
                await self._freed.wait()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not None:
            raise RuntimeError(f"{self._path} is in use by another event loop: one loop per file")
        self._loop = loop
        # A daemon: a process that forgot to close must still be able to end, and may, since
        # whatever was reported done is on disk.
        self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
        self._thread.start()

    def _answer(self, group: list[_Job]) -> None:
        for job in group:
            self._load -= job.weight
            if job.future.done():  # its caller was cancelled
                continue
            if job.error is None:
                job.future.set_result(job.result)
            else:
                job.future.set_exception(job.error)
        self._freed.set()

    # ----------------------------------------------------------------------- on the thread

    def _work(self) -> None:
        inbox, more = self._inbox, True
        while more:
            group: list[_Job] = []
            # Only this thread takes from the inbox: what is not empty now cannot block below.
            while more and not (group and inbox.empty()):
                jobs = inbox.get()
                if jobs is None:
                    more = False
                else:
                    group += jobs
            self._serve(group)
            assert self._loop is not None
            try:
                self._loop.call_soon_threadsafe(self._answer, group)
            except RuntimeError:
                more = False  # the event loop is closed: nobody is left to serve or to tell
        self._disconnect()

    def _serve(self, group: list[_Job]) -> None:
        for job in group:
            try:
                job.result = job.work(self._cursor())
            except Exception as error:
                if _is_outage(error):
                    self._disconnect()
                job.error = self._translated(error)

    def _cursor(self) -> sqlite3.Cursor:
        if self._open_cursor is None:
            connection = sqlite3.connect(
                self._path,
                timeout=self._busy_timeout_ms / 1000,
                isolation_level=None,  # we say ourselves where a transaction begins
                cached_statements=512,
            )
            self._open_cursor = connection.cursor()
            self._prepare(self._open_cursor)
        return self._open_cursor

    def _prepare(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute("PRAGMA query_only = ON")

    def _disconnect(self) -> None:
        """Let go of the connection and of any transaction in it; the next job opens another."""
        cursor, self._open_cursor = self._open_cursor, None
        if cursor is not None:
            cursor.connection.close()

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, (*_BAD_VALUE, OverflowError, UnicodeError)):
            return ValueError(f"{self._path} cannot store or look for this: {error}")
        if not isinstance(error, sqlite3.Error):
            return error
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
        advice = _ADVICE.get(code, "see https://www.sqlite.org/rescode.html")
        unavailable = StoreUnavailable(f"{self._path} cannot be used ({error}); {advice}")
        unavailable.__cause__ = error
        return unavailable


class WriteLane(Lane):
    """The one writer of a file: each group is one transaction, durable when it is answered."""

    def __init__(self, path: Path, name: str, busy_timeout_ms: int, bound: int) -> None:
        super().__init__(path, name, busy_timeout_ms, bound)
        self.transactions = 0
        #: The group is made again, because a bulk statement of it did not do what it said.
        self.one_by_one = False

    def _serve(self, group: list[_Job]) -> None:
        left = list(group)
        self.one_by_one = False
        while left:
            job: _Job | None = None
            try:
                cursor = self._cursor()
                # IMMEDIATE: to take the lock later, at the first write, can fail without waiting.
                cursor.execute("BEGIN IMMEDIATE")
                for job in left:
                    job.result = job.work(cursor)
                job = None
                cursor.execute("COMMIT")
            except Mismatch:
                self.one_by_one = True
                self._disconnect()  # rolls back
                continue
            except Exception as error:
                self._disconnect()  # rolls back, and whatever was wrong with it is gone too
                if job is not None and not _is_outage(error):
                    # One bad job must not fail the others: do them again without it.
                    job.error = self._translated(error)
                    left.remove(job)
                    continue
                for job in left:
                    job.error = self._translated(error)
                return
            self.transactions += 1
            return

    def _prepare(self, cursor: sqlite3.Cursor) -> None:
        cursor.execute("PRAGMA journal_mode = WAL")
        # FULL: in WAL mode, NORMAL does not sync a commit, so a power cut would undo it.
        cursor.execute("PRAGMA synchronous = FULL")
        # On macOS a plain fsync stops at the drive's cache. Elsewhere this changes nothing.
        cursor.execute("PRAGMA fullfsync = ON")
        # A group of large documents must fit, or it spills to disk before its commit.
        cursor.execute("PRAGMA cache_size = -32768")


def _is_outage(error: Exception) -> bool:
    return isinstance(error, sqlite3.Error) and not isinstance(error, _BAD_VALUE)
