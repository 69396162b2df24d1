"""A thousand slow headers and a thousand slow bodies, and a client who means well meanwhile.

The gateway with its defaults (but that the attackers' address is not limited by rate, which would
only help it) in a process of its own, and the attackers in another: they come within a second, and
send a byte a second. Measured: how long the slowest of their connections lasted, what the gateway's
memory grew, and the latencies of a customer, fifty requests a second, every tenth on a new
connection, before and during the attack.

Run: ``python -m bench.slow_clients`` (half a minute).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from time import perf_counter

import uvloop

from bench.client import Connection
from sagas.system import SystemClock
from sagas.web.auth import Principal, Tokens

__all__ = ["main"]

MANY = 1_000
PER_S, CALM_S = 50.0, 5.0
ALLOWED_S, ALLOWED_MS = 10.0, 100.0
SECRET = "a secret that signs one token here, of 32"
SLOW = {
    "127.0.0.2": b"GET /api/products HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "127.0.0.3": b"POST /api/products HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 60000\r\n\r\n",
}


async def _drip(port: int, address: str, began: bytes) -> float:
    """How long the gateway bore it. They come within a second, in no order."""
    await asyncio.sleep(random.random())
    reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
    opened = perf_counter()
    said = asyncio.ensure_future(reader.read())
    with suppress(ConnectionError):
        writer.write(began)
        while not said.done():
            await asyncio.wait({said}, timeout=1.0)
            if not writer.transport.is_closing():
                writer.write(b"a")
        await said
    await asyncio.gather(said, return_exceptions=True)
    writer.close()
    return perf_counter() - opened


async def _attack(port: int) -> None:
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    lasted = await asyncio.gather(
        *(_drip(port, address, began) for address, began in SLOW.items() for _ in range(MANY))
    )
    print(f"{len(lasted)} closed; the last one lasted {max(lasted):.2f} s", flush=True)


class _Customer:
    """Asks at fixed moments; a latency counts from the moment that its request was due."""

    def __init__(self, port: int) -> None:
        self._port = port
        token = Tokens(SECRET, SystemClock()).issue(Principal("c1", "customer"))
        self._headers = f"Authorization: Bearer {token}\r\n"
        self.took_s: list[float] = []
        self.statuses: set[int] = set()

    async def ask_until(self, done: asyncio.Future[object]) -> None:
        connection: Connection | None = None
        due = perf_counter()
        while not done.done():
            if len(self.took_s) % 10 == 0:
                if connection is not None:
                    await connection.close()
                connection = Connection("127.0.0.1", self._port)
                await connection.open()
            assert connection is not None
            status, _ = await connection.send("GET", "/api/products", headers=self._headers)
            self.took_s.append(perf_counter() - due)
            self.statuses.add(status)
            due += 1 / PER_S
            await asyncio.sleep(max(0.0, due - perf_counter()))
        if connection is not None:
            await connection.close()

    def quantile_ms(self, share: float) -> float:
        return sorted(self.took_s)[int(len(self.took_s) * share)] * 1e3

    def tell(self, when: str) -> None:
        p50, p99 = self.quantile_ms(0.5), self.quantile_ms(0.99)
        print(
            f"{when:<8} {len(self.took_s):>5} requests, {self.statuses}:"
            f" p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {max(self.took_s) * 1e3:.1f} ms",
            flush=True,
        )


def _resident_mib(process: Process) -> float:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4_096 / 1024**2


async def _started(stack: AsyncExitStack, *arguments: str, **environment: str) -> Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={**os.environ, **environment},
        stdin=PIPE,
        stdout=PIPE,
    )

    async def end() -> None:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.communicate()

    stack.push_async_callback(end)
    assert process.stdout is not None
    async with asyncio.timeout(20):
        if not await process.stdout.readline():
            raise SystemExit(f"{arguments[0]} did not start")
    return process


async def _bench(port: int) -> None:
    async with AsyncExitStack() as stack:
        await _started(stack, "bench.gateway_overload", "--serve", str(port + 1))
        gateway = await _started(
            stack,
            "gateway",
            SHOP_JWT_SECRET=SECRET,
            SHOP_PORT_BASE=str(port),
            SHOP_PRODUCT_URLS=f"http://127.0.0.1:{port + 1}",
            SHOP_ANONYMOUS_BURST="1000000",
        )
        calm = _Customer(port)
        await calm.ask_until(asyncio.ensure_future(asyncio.sleep(CALM_S)))
        calm.tell("before")
        before_mib = most_mib = _resident_mib(gateway)
        attack = await _started(stack, "bench.slow_clients", "--attack", "--port", str(port))
        assert attack.stdin is not None
        assert attack.stdout is not None
        attack.stdin.write(b"\n")
        over = asyncio.ensure_future(attack.stdout.readline())
        amid = _Customer(port)
        asking = asyncio.ensure_future(amid.ask_until(over))
        while not over.done():
            await asyncio.wait({over}, timeout=0.1)
            most_mib = max(most_mib, _resident_mib(gateway))
        await asking
        amid.tell("meanwhile")
        said = over.result().decode().strip()
        print(f"{said}; the gateway grew {most_mib - before_mib:.0f} MiB")
        lasted_s, p99_ms = float(said.split()[-2]), amid.quantile_ms(0.99)
        kept = lasted_s <= ALLOWED_S and p99_ms < ALLOWED_MS and amid.statuses == {200}
        print(
            f"VERDICT slow clients: {'kept' if kept else 'MISSED'}: the last one lasted"
            f" {lasted_s:.2f} s ({ALLOWED_S:g} s allowed), the customer's p99 was {p99_ms:.1f} ms"
            f" ({ALLOWED_MS:g} ms allowed)"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.slow_clients", description=__doc__)
    parser.add_argument("--port", type=int, default=4500, help="the gateway's; default 4500")
    parser.add_argument("--attack", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4 * MANY), hard), hard))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_attack(options.port) if options.attack else _bench(options.port))


if __name__ == "__main__":
    main()
