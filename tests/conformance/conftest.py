"""The back ends that the conformance suites run on. A new one is done when it passes unskipped.

To add one, write a class like those below and append it to ``STORES`` or ``BROKERS``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pytest

from sagas.brokers.embedded import EmbeddedBroker
from sagas.brokers.rabbitmq import RabbitBroker
from sagas.ports import Broker, Store
from sagas.stores.mongodb import MongoDatabase
from sagas.stores.sqlite import SqliteDatabase
from sagas.testing.memory import MemoryDatabase
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import own_namespace

# ---------------------------------------------------------------------------------------- store


class StoreProcess(Protocol):
    """A process that uses stores, on data that outlives it."""

    def store(self, namespace: str) -> Store:
        """A new store object, not opened yet."""
        ...

    async def restart(self) -> None:
        """End the process and start another: only what is durable is left."""
        ...


@dataclass(frozen=True)
class StoreBackend:
    """``start`` gets an empty folder and yields a process; data of other tests is not there."""

    id: str
    start: Callable[[Path], AbstractAsyncContextManager[StoreProcess]]


class _MemoryProcess:
    def __init__(self) -> None:
        self._database = MemoryDatabase()

    def store(self, namespace: str) -> Store:
        return self._database.store(namespace)

    async def restart(self) -> None:
        """The database stands for the disk: a new store on it is all there is to a restart."""


class _SqliteProcess:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.database = SqliteDatabase(path)

    def store(self, namespace: str) -> Store:
        return self.database.store(namespace)

    async def restart(self) -> None:
        await self.database.close()
        self.database = SqliteDatabase(self._path)


@asynccontextmanager
async def _memory(folder: Path) -> AsyncIterator[StoreProcess]:
    yield _MemoryProcess()


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[StoreProcess]:
    process = _SqliteProcess(folder / "shop.db")
    yield process
    await process.database.close()


class _MongoProcess:
    def __init__(self, url: str) -> None:
        self._url = url
        self.database = MongoDatabase(url)

    def store(self, namespace: str) -> Store:
        return self.database.store(namespace)

    async def restart(self) -> None:
        await self.database.close()
        self.database = MongoDatabase(self._url)


@asynccontextmanager
async def _mongodb(folder: Path, *, driver: str) -> AsyncIterator[StoreProcess]:
    async with own_databases(driver) as url:
        process = _MongoProcess(url)
        yield process
        await process.database.close()


STORES = [
    StoreBackend("memory", _memory),
    StoreBackend("sqlite", _sqlite),
    StoreBackend("mongodb-motor", partial(_mongodb, driver="motor")),
    StoreBackend("mongodb-pymongo", partial(_mongodb, driver="pymongo")),
]


@pytest.fixture(params=STORES, ids=lambda backend: backend.id)
async def process(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreProcess]:
    """A process on empty data, once per store back end."""
    async with request.param.start(tmp_path) as started:
        yield started


# --------------------------------------------------------------------------------------- broker


class BrokerProcess(Protocol):
    """A process that uses a broker, which may live on when the process ends."""

    @property
    def broker(self) -> Broker: ...

    async def restart(self) -> None:
        """End the process and start another; ``broker`` is a new object, not opened yet."""
        ...


@dataclass(frozen=True)
class BrokerBackend:
    """``waits_for_acks``: when ``publish`` returns, on the last ack or on a server's confirm.

    ``start`` yields a process; queues and messages of other tests are not there.
    """

    id: str
    start: Callable[[Path], AbstractAsyncContextManager[BrokerProcess]]
    waits_for_acks: bool


class _EmbeddedProcess:
    def __init__(self) -> None:
        self.broker: Broker = EmbeddedBroker()

    async def restart(self) -> None:
        await self.broker.close()
        self.broker = EmbeddedBroker()


@asynccontextmanager
async def _embedded(folder: Path) -> AsyncIterator[BrokerProcess]:
    process = _EmbeddedProcess()
    yield process
    await process.broker.close()


class _RabbitProcess:
    """``queues``: all that were declared, which outlive the process."""

    def __init__(self, url: str, queues: set[str]) -> None:
        self._url, self._queues = url, queues
        self.broker: Broker = _NotingBroker(url, queues)

    async def restart(self) -> None:
        await self.broker.close()
        self.broker = _NotingBroker(self._url, self._queues)


class _NotingBroker(RabbitBroker):
    def __init__(self, url: str, noted: set[str]) -> None:
        super().__init__(url)
        self._noted = noted

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        self._noted.update(queues)
        await super().open(queues)


@asynccontextmanager
async def _rabbitmq(folder: Path) -> AsyncIterator[BrokerProcess]:
    queues: set[str] = set()
    async with own_namespace(queues) as url:
        process = _RabbitProcess(str(url), queues)
        yield process
        await process.broker.close()


BROKERS = [
    BrokerBackend("embedded", _embedded, waits_for_acks=True),
    BrokerBackend("rabbitmq", _rabbitmq, waits_for_acks=False),
]


@pytest.fixture(params=BROKERS, ids=lambda backend: backend.id)
def broker_backend(request: pytest.FixtureRequest) -> BrokerBackend:
    """Each broker back end in turn."""
    backend: BrokerBackend = request.param
    return backend


@pytest.fixture
async def broker_process(
    broker_backend: BrokerBackend, tmp_path: Path
) -> AsyncIterator[BrokerProcess]:
    """A process with a broker that has no queues yet."""
    async with broker_backend.start(tmp_path) as started:
        yield started


@pytest.fixture
def broker(broker_process: BrokerProcess) -> Broker:
    """The broker of ``broker_process`` before any restart."""
    return broker_process.broker


@pytest.fixture
def waits_for_acks(broker_backend: BrokerBackend) -> bool:
    """Whether ``publish`` returns on the last ack (else on a server's confirm)."""
    return broker_backend.waits_for_acks
