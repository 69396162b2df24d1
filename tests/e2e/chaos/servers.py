"""A RabbitMQ and a MongoDB of the test's own, by the same scripts as `make services`: others may
use the usual ones, and these get killed."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

import pytest

from tests.backends import AMQP_URL, MONGODB_URL, require
from tests.e2e.kill.process import ROOT, are_free

__all__ = ["Servers", "open_servers"]

SCRIPT = ROOT / "docker" / "native" / "services"
#: Installing nothing: starting takes some five seconds, and far more only where all is busy.
ACTION_LIMIT_S = 180.0
GONE_WITHIN_S = 60.0
#: What each consists of; a process's children are part of it.
PROCESSES = {"rabbitmq": ("rabbitmq",), "mongodb": ("mongodb", "postgresql")}


class Servers:
    """All state in one folder. A server's processes are those that the script wrote down."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        amqp, mongodb = _ports()
        self.amqp_url = f"amqp://guest:guest@127.0.0.1:{amqp}/"
        self.mongodb_url = f"mongodb://127.0.0.1:{mongodb}/"
        self._environment = {
            **os.environ,
            "SERVICES_DIR": str(folder),
            "SERVICES_RABBITMQ_PORT": str(amqp),
            "SERVICES_MONGODB_PORT": str(mongodb),
        }

    async def start(self, *names: str) -> None:
        """Start these, or leave them alone; ready when this returns."""
        await self._act("start", *names)

    async def stop(self, *names: str) -> None:
        """In good order, as an operator does."""
        await self._act("stop", *names)

    async def kill(self, name: str) -> None:
        """All of it at once, and wait until nothing of it is left: PostgreSQL's own processes
        would keep the next one from starting."""
        pids = self.pids(name)
        _signal(pids, signal.SIGKILL)
        async with asyncio.timeout(GONE_WITHIN_S):
            for pid in pids:
                while _is_there(pid):  # noqa: ASYNC110 - it is no child of ours
                    await asyncio.sleep(0.02)

    async def freeze(self, name: str, seconds: float) -> None:
        """No connection is closed, nothing answers."""
        pids = self.pids(name)
        _signal(pids, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)  # that long it lasts
        finally:
            _signal(pids, signal.SIGCONT)

    def pids(self, name: str) -> list[int]:
        """The server's processes; the first ones are the parents."""
        parents = [
            int((self._folder / f"{each}.pid").read_text().split()[0]) for each in PROCESSES[name]
        ]
        return parents + [child for parent in parents for child in _children(parent)]

    async def _act(self, action: str, *names: str) -> None:
        process = await asyncio.create_subprocess_exec(
            *(str(SCRIPT), action, *names),
            env=self._environment,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
        )
        async with asyncio.timeout(ACTION_LIMIT_S):
            said, _ = await process.communicate()
        assert process.returncode == 0, f"services {action} {names}:\n{said.decode()}"


@asynccontextmanager
async def open_servers(folder: Path) -> AsyncIterator[Servers]:
    """Both, running. Skips the test where servers cannot be started by the script."""
    for url in (AMQP_URL, MONGODB_URL):
        require(url)
    _require_script()
    servers = Servers(folder)
    try:
        await servers.start(*PROCESSES)
        yield servers
    finally:
        await servers.stop(*PROCESSES)


def _require_script() -> None:
    """A test downloads nothing: what the script installs must be there."""
    cache = os.environ.get("SERVICES_CACHE") or os.path.expanduser(
        os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "saga-shop")
    )
    ferretdb = next(Path(cache).glob("documentdb-18/usr/bin/ferretdb"), None)
    if os.geteuid() == 0 and ferretdb is not None and shutil.which("rabbitmq-server"):
        return
    said = "servers that may be killed are needed, as `make services` starts them natively"
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)


def _ports() -> tuple[int, int]:
    """RabbitMQ's, whose two others are 20,000 above it and below those of clients; MongoDB's."""
    for _ in range(100):
        amqp = Random().randrange(6_000, 9_900, 3)
        found = [amqp, amqp + 20_000, amqp + 20_001, amqp + 1]
        if are_free(found):
            return amqp, amqp + 1
    raise AssertionError("no ports for servers are free")


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # a child that has ended since


def _children(pid: int) -> list[int]:
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_there(pid: int) -> bool:
    """Also when it has ended and nobody has asked for its exit code: PostgreSQL minds that too."""
    return Path(f"/proc/{pid}").exists()
