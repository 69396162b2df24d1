"""The Faust application, and where it differs from Faust's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import faust
from faust.tables.table import Table
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import FutureMessage

__all__ = ["RecordingTable", "StreamSettings", "make_application"]


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """Where the stream is. All workers of one ``group`` share its partitions."""

    #: ``host:port``, several separated by commas.
    brokers: str
    topic: str
    partitions: int
    group: str = "insight"
    #: Of each record of the changelogs, on as many servers.
    copies: int = 1
    host: str = "127.0.0.1"
    port: int = 6066
    #: How long a worker may be silent before its partitions go to another.
    session_timeout_s: float = 6.0
    #: This worker's own folder, for RocksDB.
    data_dir: str = "insight-data"


class RecordingTable(Table[Any, Any]):
    """A table that tells what it has sent to its changelog."""

    #: What the event under way has sent so far.
    sent: list[FutureMessage] | None = None

    def send_changelog(self, *args: Any, **kwargs: Any) -> FutureMessage:
        future = super().send_changelog(*args, **kwargs)
        if self.sent is not None:
            self.sent.append(future)
        return future

    def _should_expire_keys(self) -> bool:
        # Windows are dropped by event time (``Partition``). Faust would go by the wall clock, keep
        # one heap entry for each write, and never drop what was recovered.
        return False


class _NoPlaces(dict[Any, Any]):
    """What Faust remembers of the places that it has read: nothing."""

    def __getitem__(self, key: Any) -> None:
        return None


class _Consumer(driver.Consumer):
    """Drops no record as read before, and takes none for compacted.

    Its own idea of what it has read is wrong once a rebalance comes while it hands on a batch: it
    then drops what it is to read again. Who hears the records knows better: ``Insight._is_next``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = _NoPlaces()

    async def _add_gap(self, *args: Any) -> None:
        return


class _Transport(driver.Transport):
    Consumer = _Consumer


def make_application(settings: StreamSettings) -> Any:
    """An application without agents and tables."""
    hosts: Sequence[str] = settings.brokers.split(",")
    app = faust.App(
        settings.group,
        broker=[f"kafka://{host}" for host in hosts],
        store=_store(),
        Table=RecordingTable,
        topic_partitions=settings.partitions,
        topic_replication_factor=settings.copies,
        table_standby_replicas=1,
        broker_session_timeout=settings.session_timeout_s,
        broker_heartbeat_interval=settings.session_timeout_s / 3,
        broker_commit_interval=1.0,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        datadir=settings.data_dir,
        web_host=settings.host,
        web_bind=settings.host,
        web_port=settings.port,
    )
    app.transport = _Transport(app.conf.broker_consumer, app)
    return app


def _store() -> str:
    """RocksDB when it is installed, else memory, which recovers from the changelog."""
    return "rocksdb://" if importlib.util.find_spec("rocksdict") else "memory://"
