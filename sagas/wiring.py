"""The composition root of back ends: a URL in, a store or broker out. Only here are they chosen."""

from __future__ import annotations

import fcntl
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sagas.brokers.embedded import EmbeddedBroker
from sagas.errors import SettingError
from sagas.ports import Broker, Store
from sagas.stores.sqlite import SqliteDatabase

__all__ = ["BROKER_URLS", "STORE_URLS", "Backends", "open_backends"]

STORE_URLS = "sqlite: (a file in the data folder) or sqlite:PATH"
BROKER_URLS = "embedded: (in this process) or amqp://USER:PASSWORD@HOST:PORT/VHOST (RabbitMQ)"


@dataclass(frozen=True, slots=True)
class Backends:
    """What a process keeps its documents in and sends its events through."""

    store: Callable[[str], Store]
    broker: Broker
    database: SqliteDatabase
    #: No other process can write the same documents: see ``Runner``.
    alone: bool
    lock: int

    async def close(self) -> None:
        await self.broker.close()
        await self.database.close()
        os.close(self.lock)


def open_backends(
    store_url: str, broker_url: str, data_dir: Path, *, name: str = "shop"
) -> Backends:
    """The back ends that the URLs name. Raises ``SettingError`` for an unknown one.

    ``name`` is that of the file when ``sqlite:`` names none.
    """
    if not store_url.startswith("sqlite:"):
        raise SettingError(f"store {store_url!r} is not known: use {STORE_URLS}")
    broker = _broker(broker_url)
    path = store_url.removeprefix("sqlite:")
    file = Path(path) if path else data_dir / f"{name}.sqlite3"
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"the folder {file.parent} cannot be made: {error.strerror}") from error
    lock = _lock(file)
    database = SqliteDatabase(file)
    return Backends(database.store, broker, database, alone=True, lock=lock)


def _broker(url: str) -> Broker:
    if url == "embedded:":
        return EmbeddedBroker()
    scheme = url.partition(":")[0]
    if scheme not in ("amqp", "amqps"):
        without_password = re.sub("//[^/]*@", "//…@", url)
        raise SettingError(f"broker {without_password!r} is not known: use {BROKER_URLS}")
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
