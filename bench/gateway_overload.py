"""The gateway when more is asked than can be done: real processes, HTTP.

A service that can do 10 things at once, 50 ms each (200 a second), is asked up to five times
as much: what those who are accepted wait, what a refusal takes, and the same without protection.
Accepted requests take 50 ms and wait behind a full queue for as much: twice that is allowed.

Run: ``python -m bench.gateway_overload`` (about a minute; ``--seconds`` makes it shorter).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import uvloop
from aiohttp import web

from bench.load import UNLIMITED, load, process

__all__ = ["main"]

AT_ONCE, TAKES_S = 10, 0.05
CAPACITY_PER_S = AT_ONCE / TAKES_S
ALLOWED_MS = 2 * (TAKES_S + TAKES_S) * 1e3
PROTECTED = {"SHOP_BULKHEAD_CALLS": f"256,order={AT_ONCE}", "SHOP_BULKHEAD_QUEUE": "256,order=10"}
UNPROTECTED = {
    "SHOP_BULKHEAD_CALLS": "1000000",
    "SHOP_BREAKER_MIN_CALLS": "1000000",
    "SHOP_READ_TIMEOUT_S": "60",
    "SHOP_UPSTREAM_TIMEOUT_S": "60",
}


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


def _gateway(port: int, limits: dict[str, str]) -> AbstractAsyncContextManager[Process]:
    behind = f"http://127.0.0.1:{port + 1}"
    urls = {"SHOP_ORDER_URLS": behind, "SHOP_PRODUCT_URLS": behind, "SHOP_PORT_BASE": str(port)}
    return process("gateway", **UNLIMITED, **urls, **limits)


async def _shedding(port: int, seconds: float) -> None:
    longest_ms = 0.0
    print(f"A service that can do {CAPACITY_PER_S:g} requests a second")
    for limits, loads in ((PROTECTED, (0.5, 1, 2, 5)), (UNPROTECTED, (5,))):
        async with _gateway(port, limits):
            for times in loads:
                seen = await load(port, "/api/orders", times * CAPACITY_PER_S, seconds, seed=1)
                if limits is PROTECTED:
                    longest_ms = max(longest_ms, seen.quantile_ms(200, 0.99))
                print(
                    f"  {'protected' if limits is PROTECTED else 'unprotected':<11} {times:>3g} × "
                    f" accepted {len(seen.by_status.get(200, ())) / seconds:6.1f}/s"
                    f"  p50 {seen.quantile_ms(200, 0.5):7.1f} ms"
                    f"  p99 {seen.quantile_ms(200, 0.99):7.1f} ms"
                    f"   refusals' p99 {seen.quantile_ms(503, 0.99):5.1f} ms   ({seen.counts()})",
                    flush=True,
                )
    print(
        f"VERDICT shedding: {'kept' if longest_ms < ALLOWED_MS else 'MISSED'}: up to five times the"
        f" load the p99 of accepted requests is {longest_ms:.1f} ms, {ALLOWED_MS:g} ms are allowed"
    )


async def _bench(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    async with process("bench.gateway_overload", "--serve", str(options.port + 1)):
        await _shedding(options.port, options.seconds)
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
