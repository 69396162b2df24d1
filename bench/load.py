"""Load at random moments for the benches of the gateway, and the processes that it meets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from bench.client import Connection

__all__ = ["UNLIMITED", "Seen", "load", "process"]

#: Nobody is limited by rate in these: they are about what is accepted.
UNLIMITED = {
    "SHOP_ANONYMOUS_RATE_PER_S": "1000000",
    "SHOP_ANONYMOUS_BURST": "1000000",
    "SHOP_UPSTREAM_RATE_PER_S": "1000000",
    "SHOP_UPSTREAM_BURST": "1000000",
    "SHOP_CONNECTIONS": "1000000",
    "SHOP_CONNECTIONS_EACH": "1000000",
    "SHOP_JWT_SECRET": "a secret that signs nothing here, of 32",
}


@contextlib.asynccontextmanager
async def process(*arguments: str, **environment: str) -> AsyncIterator[Process]:
    """A module of ours, with these arguments; it has begun when it has said its first line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, env={**os.environ, **environment}, stdout=PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            if not await process.stdout.readline():
                raise SystemExit(f"{arguments[0]} did not start")
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()


@dataclass
class Seen:
    """Latencies in seconds by status, from the moment that each request was due."""

    by_status: dict[int, list[float]] = field(default_factory=dict)

    def add(self, status: int, took_s: float) -> None:
        self.by_status.setdefault(status, []).append(took_s)

    def quantile_ms(self, status: int, share: float) -> float:
        ordered = sorted(self.by_status.get(status, [0.0]))
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3

    def counts(self) -> str:
        counted = Counter({status: len(took) for status, took in self.by_status.items()})
        return ", ".join(f"{count} × {status}" for status, count in sorted(counted.items()))


async def load(
    port: int,
    path: str,
    per_s: float,
    seconds: float,
    seed: int,
    idle: list[Connection] | None = None,
) -> Seen:
    """Requests come at random moments, whether or not earlier ones were answered (open loop).

    With a list of ``idle`` connections these are used, and those that it takes are left in it open.
    """
    chance, seen = random.Random(seed), Seen()
    kept = idle is not None
    idle = [] if idle is None else idle
    loop = asyncio.get_running_loop()

    async def one(due: float) -> None:
        if idle:
            connection = idle.pop()
        else:
            connection = Connection("127.0.0.1", port)
            await connection.open()
        status, _ = await connection.send("GET", path)
        seen.add(status, loop.time() - due)
        idle.append(connection)

    due, asked = loop.time(), []
    end = due + seconds
    while due < end:
        asked.append(asyncio.create_task(one(due)))
        due += chance.expovariate(per_s)
        await asyncio.sleep(max(0.0, due - loop.time()))
    await asyncio.gather(*asked)
    if not kept:
        await asyncio.gather(*(connection.close() for connection in idle))
    return seen
