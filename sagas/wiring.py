"""The composition root of back ends: a URL in, a store or broker out. Only here are they chosen."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sagas.brokers.embedded import EmbeddedBroker
from sagas.errors import SettingError
from sagas.ports import Broker, Store
from sagas.stores.sqlite import SqliteDatabase

__all__ = [
    "BROKER_URLS",
    "STORE_URLS",
    "Backends",
    "open_backends",
    "open_broker",
    "open_stores",
]

STORE_URLS = (
    "sqlite: (a file in the data folder), sqlite:PATH, or mongodb://HOST:PORT/PREFIX (a database "
    "per service, named PREFIX_SERVICE)"
)
BROKER_URLS = "embedded: (in this process) or amqp://USER:PASSWORD@HOST:PORT/VHOST (RabbitMQ)"
MONGODB = ("mongodb://", "mongodb+srv://")


class Database(Protocol):
    """Where the stores of all services of a process live."""

    def store(self, namespace: str) -> Store: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """What a process keeps its documents in and sends its events through."""

    store: Callable[[str], Store]
    broker: Broker
    database: Database
    #: No other process can write the same documents: see ``Runner``.
    alone: bool
    #: Of a file that is kept to this process.
    lock: int | None = None
    #: How long sent events are worth keeping; the embedded broker's queues cannot be lost.
    keep_sent_s: float = 0.0

    async def close(self) -> None:
        await self.broker.close()
        await self.database.close()
        if self.lock is not None:
            os.close(self.lock)


def open_backends(
    store_url: str,
    broker_url: str,
    data_dir: Path,
    *,
    name: str = "shop",
    keep_sent_s: float = 0.0,
) -> Backends:
    """The back ends that the URLs name. Raises ``SettingError`` for an unknown one.

    ``name`` is that of the file when ``sqlite:`` names none. ``keep_sent_s``: how long sent events
    are to be kept where queues may be lost.
    """
    broker = open_broker(broker_url)
    kept_s = 0.0 if isinstance(broker, EmbeddedBroker) else keep_sent_s
    if store_url.startswith(MONGODB):
        server = _mongodb(store_url)
        return Backends(server.store, broker, server, alone=False, keep_sent_s=kept_s)
    if not store_url.startswith("sqlite:"):
        raise SettingError(f"store {_shown(store_url)} is not known: use {STORE_URLS}")
    path = store_url.removeprefix("sqlite:")
    file = Path(path) if path else data_dir / f"{name}.sqlite3"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"the folder {file.parent} cannot be made: {error.strerror}") from error
    lock = _lock(file)
    database = SqliteDatabase(file)
    return Backends(database.store, broker, database, alone=True, lock=lock, keep_sent_s=kept_s)


def open_broker(url: str) -> Broker:
    """The broker that the URL names. Raises ``SettingError`` for an unknown one."""
    if url == "embedded:":
        return EmbeddedBroker()
    scheme = url.partition(":")[0]
    if scheme not in ("amqp", "amqps"):
        raise SettingError(f"broker {_shown(url)} is not known: use {BROKER_URLS}")
    try:
        # Here, since its client is there only where a server is meant to be used.
        from sagas.brokers.rabbitmq import RabbitBroker
    except ImportError as error:
        raise SettingError(
            f"an {scheme}: broker needs its client ({error}): pip install 'saga-shop[servers]'"
        ) from error
    # What they have to say the broker says better, and once.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    logging.getLogger("aio_pika").setLevel(logging.CRITICAL)
    return RabbitBroker(url)


@asynccontextmanager
async def open_stores(
    store_url: str, data_dir: Path, names: Sequence[str]
) -> AsyncIterator[list[Store]]:
    """The stores of these services, to read in beside the running ones.

    Raises ``SettingError`` for an unknown URL, or where none has any data.
    """
    if store_url.startswith(MONGODB):
        server = _mongodb(store_url)
        try:
            yield [server.store(name) for name in names]
        finally:
            await server.close()
        return
    if not store_url.startswith("sqlite:"):
        raise SettingError(f"store {_shown(store_url)} is not known: use {STORE_URLS}")
    path = store_url.removeprefix("sqlite:")
    # A service alone has a file of its own; all in one process share one.
    files = [Path(path)] if path else [data_dir / f"{name}.sqlite3" for name in (*names, "shop")]
    databases = {file: SqliteDatabase(file) for file in files if file.exists()}
    if not databases:
        raise SettingError(f"there are no data in {path or data_dir}: see --store and --data-dir")
    try:
        yield [
            database.store(name)
            for file, database in databases.items()
            for name in names
            if path or file.stem in (name, "shop")
        ]
    finally:
        for database in databases.values():
            await database.close()


def _shown(url: str) -> str:
    """As an error may show it: without its password."""
    return repr(re.sub("//[^/]*@", "//…@", url))


def _mongodb(url: str) -> Database:
    try:
        # Here, since its drivers are there only where a server is meant to be used.
        from sagas.stores.mongodb import MongoDatabase
    except ImportError as error:
        raise SettingError(
            f"a mongodb: store needs its drivers ({error}): pip install 'saga-shop[servers]'"
        ) from error
    return MongoDatabase(url)


def _lock(file: Path) -> int:
    """Keep this file to this process; the system lets go of it however the process ends."""
    try:
        lock = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingError(f"{file}.lock cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise SettingError(
            f"{file} is in use by another process: stop that one, or choose another data folder"
        ) from None
    return lock
