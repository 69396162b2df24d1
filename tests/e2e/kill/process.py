"""A shop in a process of its own, which tests may kill at any moment and start again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

__all__ = ["PORTS", "READY", "ROOT", "ShopProcess", "are_free", "free_ports", "module_of"]

ROOT = Path(__file__).parents[3]
PORTS = 8
#: Below what the kernel hands out itself, and what servers have that tests start (`chaos/servers`).
_RANGE = range(10_000, 25_000)
READY = b"The shop is open"
#: Far more than a start takes: only a shop that hangs needs as long.
START_LIMIT_S = 120.0


class ShopEnded(AssertionError):
    """The shop ended though nobody had asked it to."""


class ShopProcess:
    """``shop run --seed demo`` on one data folder and one block of ports, life after life.

    ``instances`` as its flag of that name; ``program`` in place of ``shop``; ``settings`` by
    environment variables; ``ports`` in a row are its own. What it prints to stderr in all its
    lives is kept in one file beside the data.
    """

    def __init__(
        self,
        folder: Path,
        instances: int = 1,
        program: Sequence[str] = ("shop",),
        ports: int = PORTS,
        **settings: object,
    ) -> None:
        self.data = folder / "data"
        self.file = self.data / "shop.sqlite3"
        self.errors = folder / "stderr.log"
        self.port = free_ports(ports * instances)
        flags = ("run", "--seed", "demo", "--instances", str(instances))
        self._command = (sys.executable, "-m", *program, *flags)
        self.url = f"http://127.0.0.1:{self.port}"
        # A developer's own settings must not reach this shop.
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
        self.environment |= {"SHOP_DATA_DIR": str(self.data), "SHOP_PORT_BASE": str(self.port)}
        self.environment |= {"SHOP_CARRIER_STEP_S": "0.2"}
        self.environment |= {f"SHOP_{name.upper()}": str(value) for name, value in settings.items()}
        self._process: asyncio.subprocess.Process | None = None
        self._is_open = False
        self._following: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """Begin to start; ``ready`` waits until it has."""
        with self.errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=ROOT,
                env=self.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        self._is_open = False

    async def ready(self) -> None:
        """Until it has said that it is open."""
        if not self._is_open:
            await self.said(READY)
            self._is_open = True

    async def said(self, beginning: bytes) -> None:
        """Until it prints a line that begins like this; what it prints before is gone."""
        assert self._process is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(START_LIMIT_S):
                async for line in self._process.stdout:
                    if line.startswith(beginning):
                        return
        except TimeoutError:
            raise AssertionError(
                f"no {beginning!r} within {START_LIMIT_S:g} s:\n{self.complaints()}"
            ) from None
        raise self._ended(await self._process.wait())

    def follow(self, file: Path) -> None:
        """From now on, what it prints goes into this file: unread, it would fill the pipe."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._following = asyncio.create_task(_copy(self._process.stdout, file))

    async def lives(self, seconds: float) -> None:
        """Let it live that long; raises when it ends by itself before."""
        assert self._process is not None
        try:
            async with asyncio.timeout(seconds):
                code = await self._process.wait()
        except TimeoutError:
            return
        raise self._ended(code)

    def instances(self, service: str) -> list[int]:
        """The process ids of a service's instances, oldest first, where each has a process."""
        assert self._process is not None
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        command = f"{module_of(service)}\0".encode()
        return [int(each) for each in children if command in _command_of(each)]

    async def kill(self) -> None:
        """At once, as a power cut would (but for what the kernel still has to write)."""
        await self.end(signal.SIGKILL)

    async def end(self, number: signal.Signals, within_s: float = 60.0) -> tuple[int, str]:
        """Send a signal and wait; the exit code, and what it printed since it was ready."""
        assert self._process is not None
        process, self._process = self._process, None
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(within_s):
                if self._following is not None:
                    await self._following
                    self._following = None
                printed, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            raise AssertionError(f"still there {within_s:g} s after {number.name}") from None
        assert process.returncode is not None
        return process.returncode, printed.decode()

    async def outcome(self) -> tuple[int, str]:
        """Of a start that fails by itself: the exit code, and what it says."""
        assert self._process is not None
        async with asyncio.timeout(START_LIMIT_S):
            code = await self._process.wait()
        return code, self.complaints()

    def complaints(self) -> str:
        """What it printed to stderr, in all its lives."""
        return self.errors.read_text() if self.errors.exists() else ""

    def _ended(self, code: int) -> ShopEnded:
        return ShopEnded(f"the shop ended by itself with {code}:\n{self.complaints()[-4_000:]}")

    async def __aenter__(self) -> ShopProcess:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            await self.kill()


def module_of(service: str) -> str:
    """What runs a service in a process of its own."""
    return "gateway" if service == "gateway" else f"participants.{service}"


async def _copy(lines: asyncio.StreamReader, file: Path) -> None:
    with file.open("ab", buffering=0) as copy:
        while piece := await lines.read(65_536):
            copy.write(piece)


def _command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def free_ports(count: int = PORTS) -> int:
    """The first of ``count`` free ports in a row. Each of several pytest workers looks in a range
    of its own: what is free now must still be free once it is taken, and while a shop is dead."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = len(_RANGE) // workers
    place = worker % workers * share  # one that replaces a dead one has a number of its own
    mine = _RANGE[place : place + share]
    bases = list(mine[: 1 - count or None : count])
    random.Random().shuffle(bases)  # somebody else's tests may look at the same time
    for base in bases:
        if are_free(range(base, base + count)):
            return base
    raise AssertionError(f"no {count} free ports in a row")


def are_free(ports: Iterable[int]) -> bool:
    """Whether nobody has any of these."""
    sockets: list[socket.socket] = []
    try:
        for port in ports:
            sockets.append(opened := socket.socket())
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(("127.0.0.1", port))
    except OSError:
        return False
    finally:
        for opened in sockets:
            opened.close()
    return True
