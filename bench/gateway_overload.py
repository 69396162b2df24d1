"""The gateway when more is asked than can be done, and when a service fails: real processes, HTTP.

First a service that can do 10 things at once, 50 ms each (200 a second), is asked up to five times
as much: what those who are accepted wait, what a refusal takes, and the same without protection.
Then one service fails in four ways, while another is asked 100 times a second: the other's p99.

Run: ``python -m bench.gateway_overload`` (about two minutes; ``--seconds`` makes it shorter).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import uvloop
from aiohttp import web

from bench.client import Connection

__all__ = ["main"]

AT_ONCE, TAKES_S = 10, 0.05
CAPACITY_PER_S = AT_ONCE / TAKES_S
#: Nobody is limited by rate here: this is about what is accepted.
UNLIMITED = {
    "SHOP_ANONYMOUS_RATE_PER_S": "1000000",
    "SHOP_ANONYMOUS_BURST": "1000000",
    "SHOP_UPSTREAM_RATE_PER_S": "1000000",
    "SHOP_UPSTREAM_BURST": "1000000",
    "SHOP_CONNECTIONS": "1000000",
    "SHOP_CONNECTIONS_EACH": "1000000",
    "SHOP_JWT_SECRET": "a secret that signs nothing here, of 32",
}
PROTECTED = {"SHOP_BULKHEAD_CALLS": f"256,order={AT_ONCE}", "SHOP_BULKHEAD_QUEUE": "256,order=10"}
UNPROTECTED = {
    "SHOP_BULKHEAD_CALLS": "1000000",
    "SHOP_BREAKER_MIN_CALLS": "1000000",
    "SHOP_READ_TIMEOUT_S": "60",
    "SHOP_UPSTREAM_TIMEOUT_S": "60",
}
MODES = ("healthy", "hangs", "fails", "drops", "crawls")


# ---------------------------------------------------------------------------------- the services


class Services:
    """Two services in one process. ``mode`` is what is wrong with the order service."""

    def __init__(self) -> None:
        self.mode = "healthy"
        self._places = asyncio.Semaphore(AT_ONCE)

    async def order(self, request: web.Request) -> web.StreamResponse:
        if self.mode == "hangs":
            await asyncio.sleep(3_600)
        if self.mode == "fails":
            return web.Response(status=500)
        if self.mode == "drops":
            assert request.transport is not None
            request.transport.abort()
        if self.mode == "crawls":
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.2)
        async with self._places:
            await asyncio.sleep(TAKES_S)
        return web.json_response({})

    async def product(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(0.005)
        return web.json_response({"items": []})

    async def change(self, request: web.Request) -> web.Response:
        self.mode = request.match_info["mode"]
        return web.Response()


async def _serve(port: int) -> None:
    services = Services()
    app = web.Application()
    app.router.add_post("/mode/{mode}", services.change)
    app.router.add_route("*", "/api/orders", services.order)
    app.router.add_route("*", "/api/products", services.product)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def _process(*arguments: str, **environment: str) -> AsyncIterator[Process]:
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


def _gateway(port: int, limits: dict[str, str]) -> contextlib.AbstractAsyncContextManager[Process]:
    behind = f"http://127.0.0.1:{port + 1}"
    urls = {"SHOP_ORDER_URLS": behind, "SHOP_PRODUCT_URLS": behind, "SHOP_PORT_BASE": str(port)}
    return _process("gateway", **UNLIMITED, **urls, **limits)


# -------------------------------------------------------------------------------------- the load


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


async def _load(port: int, path: str, per_s: float, seconds: float, seed: int) -> Seen:
    """Requests come at random moments, whether or not earlier ones were answered (open loop)."""
    chance, seen = random.Random(seed), Seen()
    idle: list[Connection] = []
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
    await asyncio.gather(*(connection.close() for connection in idle))
    return seen


async def _shedding(port: int, seconds: float) -> None:
    print(f"A service that can do {CAPACITY_PER_S:g} requests a second")
    for limits, loads in ((PROTECTED, (0.5, 1, 2, 5)), (UNPROTECTED, (5,))):
        async with _gateway(port, limits):
            for load in loads:
                seen = await _load(port, "/api/orders", load * CAPACITY_PER_S, seconds, seed=1)
                print(
                    f"  {'protected' if limits is PROTECTED else 'unprotected':<11} {load:>3g} × "
                    f" accepted {len(seen.by_status.get(200, ())) / seconds:6.1f}/s"
                    f"  p50 {seen.quantile_ms(200, 0.5):7.1f} ms"
                    f"  p99 {seen.quantile_ms(200, 0.99):7.1f} ms"
                    f"   refusals' p99 {seen.quantile_ms(503, 0.99):5.1f} ms   ({seen.counts()})",
                    flush=True,
                )


async def _isolation(port: int, seconds: float) -> None:
    print("Products, 100 requests a second, while the order service, 100 a second, …")
    control = Connection("127.0.0.1", port + 1)
    await control.open()
    for mode in MODES:
        await control.send("POST", f"/mode/{mode}")
        async with _gateway(port, {"SHOP_UPSTREAM_TIMEOUT_S": "2"}):
            await asyncio.gather(
                *(_load(port, path, 20.0, 1.0, 0) for path in ("/api/products", "/api/orders"))
            )
            products, orders = await asyncio.gather(
                _load(port, "/api/products", 100.0, seconds, seed=1),
                _load(port, "/api/orders", 100.0, seconds, seed=2),
            )
        print(
            f"  … {mode:<8} p50 {products.quantile_ms(200, 0.5):6.2f} ms"
            f"  p99 {products.quantile_ms(200, 0.99):6.2f} ms   (orders: {orders.counts()})",
            flush=True,
        )
    await control.close()


async def _bench(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    async with _process("bench.gateway_overload", "--serve", str(options.port + 1)):
        await _shedding(options.port, options.seconds)
        await _isolation(options.port, options.seconds)
    print(f"({time.perf_counter() - began:.0f} s)")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.gateway_overload", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each load; default 10")
    parser.add_argument("--port", type=int, default=4400, help="the gateway's; default 4400")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.serve) if options.serve else _bench(options))


if __name__ == "__main__":
    main()
