"""The servers behind a measured shop: a place of its own on them, and the CPU that they take."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from yarl import URL

from gateway.settings import SERVICE_PORTS
from participants.settings import ShopSettings

__all__ = ["Backends", "cpu_s", "fresh", "server_cpu_s"]

#: As `make services` calls what it starts.
SERVERS = ("rabbitmq", "mongodb", "postgresql")


@dataclass(frozen=True, slots=True)
class Backends:
    store_url: str
    broker_url: str

    @property
    def apart(self) -> bool:
        """Whether each service is a process of its own."""
        return self.broker_url != "embedded:"


@asynccontextmanager
async def fresh(store: str, broker: str) -> AsyncIterator[Backends]:
    """Back ends on which nothing is yet, and nothing is left afterwards."""
    settings = ShopSettings.from_environment({}, store_url=store, broker_url=broker)
    name = f"bench_{secrets.token_hex(4)}"
    store_url, broker_url = settings.store_url, settings.broker_url
    if store_url.startswith("mongodb"):
        store_url = str(URL(store_url).with_path(f"/{name}", keep_query=True))
    if broker_url != "embedded:":
        broker_url = str(URL(broker_url).update_query(namespace=name))
    try:
        yield Backends(store_url, broker_url)
    finally:
        if store_url.startswith("mongodb"):
            await _drop_databases(store_url, name)
        if broker_url != "embedded:":
            await _delete_queues(broker_url, name)


async def _drop_databases(url: str, name: str) -> None:
    from pymongo import AsyncMongoClient  # only here is it needed

    async with AsyncMongoClient(str(URL(url).origin()), timeoutMS=60_000) as client:
        for each in await client.list_database_names():
            if each.startswith(f"{name}_"):
                await client.drop_database(each)


async def _delete_queues(url: str, name: str) -> None:
    import aio_pika  # only here is it needed

    connection = await aio_pika.connect(str(URL(url).with_query(None)))
    async with connection, connection.channel() as channel:
        raw = await channel.get_underlay_channel()
        for queue in (*SERVICE_PORTS, "dead-letters", "dead", "lost"):
            await raw.queue_delete(f"{name}.{queue}")
        for exchange in ("events", "dead"):
            await raw.exchange_delete(f"{name}.{exchange}")


def server_cpu_s() -> dict[str, float]:
    """User and system time so far of the servers that `make services` started here; those that run
    elsewhere are not seen."""
    folder = Path(os.environ.get("SERVICES_DIR", ".services"))
    found: dict[str, float] = {}
    for name in SERVERS:
        file = folder / f"{name}.pid"
        if file.exists():
            pid = int(file.read_text().split()[0])
            # Of a child that has ended, its parent has the time.
            found[name] = cpu_s(pid, ended=True) + sum(cpu_s(child) for child in _children(pid))
    return found


def cpu_s(pid: int, *, ended: bool = False) -> float:
    """Of one process so far; with ``ended``, its children that have ended too. 0 of one gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    ticks = fields[11:15] if ended else fields[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
