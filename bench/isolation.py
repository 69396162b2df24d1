"""Whether one service's trouble is felt at another's routes: the gateway, two services, HTTP.

The order service is well and ill in turns, for a few seconds each, many times: it hangs, answers
500, drops its connections, or answers byte by byte. Meanwhile products are asked for 200 times a
second, and orders 100 times. So the machine's noise is in both: the same gateway, connections and
load, well and ill within seconds of each other. The latencies of all such windows together make the
two p99 that are compared. Each window that is ill begins with a closed breaker.

Beside it stands how far the p99 of one half of the well windows is from that of the other half:
what the machine alone does.

Run: ``python -m bench.isolation`` (some six minutes; ``--pairs`` and ``--modes`` make it shorter).
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence

import uvloop

from bench.client import Connection
from bench.load import UNLIMITED, load, process

__all__ = ["main"]

MODES = ("hangs", "fails", "drops", "crawls")
PRODUCTS_PER_S, ORDERS_PER_S = 200.0, 100.0
ALLOWED_PERCENT = 20.0
#: As little as lets hung calls come to an end within a window; then the breaker is open.
LIMITS = {
    "SHOP_UPSTREAM_TIMEOUT_S": "1",
    "SHOP_BREAKER_OPEN_S": "0.5",
    "SHOP_KEEPALIVE_S": "3600",
}


class Alternation:
    """Windows of load, between which the order service's mode is changed."""

    def __init__(self, port: int, control: Connection, seconds: float) -> None:
        self._port = port
        self._control = control
        self._seconds = seconds
        self._idle: tuple[list[Connection], list[Connection]] = ([], [])
        self._seed = 0

    async def window(self, mode: str) -> list[float]:
        """The latencies of products, in seconds, ascending, while orders are in this mode."""
        await self._well_again()
        await self._control.send("POST", f"/mode/{mode}")
        self._seed += 1
        products, _ = await asyncio.gather(
            *(
                load(self._port, path, per_s, self._seconds, self._seed, idle)
                for path, per_s, idle in zip(
                    ("/api/products", "/api/orders"),
                    (PRODUCTS_PER_S, ORDERS_PER_S),
                    self._idle,
                    strict=True,
                )
            )
        )
        assert set(products.by_status) == {200}, products.counts()
        return sorted(products.by_status[200])

    async def _well_again(self) -> None:
        await self._control.send("POST", "/mode/healthy")
        asking = Connection("127.0.0.1", self._port)
        await asking.open()
        async with asyncio.timeout(30):
            while (await asking.send("GET", "/api/orders"))[0] != 200:  # noqa: ASYNC110 - real time
                await asyncio.sleep(0.05)
        await asking.close()
        await asyncio.sleep(0.3)  # what was under way meanwhile ends


def _p99_ms(windows: Sequence[Sequence[float]]) -> float:
    pooled = sorted(latency for window in windows for latency in window)
    return pooled[int(len(pooled) * 0.99)] * 1e3


async def _compare(alternation: Alternation, mode: str, pairs: int) -> float:
    """By how many percent the trouble raises the p99."""
    well: list[list[float]] = []
    ill: list[list[float]] = []
    for number in range(pairs):
        turns = ((well, "healthy"), (ill, mode))
        for windows, now in turns if number % 2 else reversed(turns):
            windows.append(await alternation.window(now))
    before, after = _p99_ms(well), _p99_ms(ill)
    rise = (after / before - 1) * 100
    noise = (_p99_ms(well[::2]) / _p99_ms(well[1::2]) - 1) * 100
    print(
        f"  {mode:<8} p99 {before:6.2f} ms well, {after:6.2f} ms ill: {rise:+6.1f} %"
        f"   (the well halves differ by {abs(noise):.1f} %; {sum(map(len, ill))} requests each)",
        flush=True,
    )
    return rise


async def _bench(options: argparse.Namespace) -> None:
    began = time.perf_counter()
    port, order, product = (options.port + distance for distance in (0, 1, 2))
    urls = {
        "SHOP_PORT_BASE": str(port),
        "SHOP_ORDER_URLS": f"http://127.0.0.1:{order}",
        "SHOP_PRODUCT_URLS": f"http://127.0.0.1:{product}",
    }
    print("Products, 200 requests a second, while orders, 100 a second, are well and ill in turns:")
    async with (
        process("bench.gateway_overload", "--serve", str(order)),
        process("bench.gateway_overload", "--serve", str(product)),
        process("gateway", **UNLIMITED, **LIMITS, **urls),
    ):
        control = Connection("127.0.0.1", order)
        await control.open()
        alternation = Alternation(port, control, options.seconds)
        await alternation.window("healthy")  # to warm up
        rises = [await _compare(alternation, mode, options.pairs) for mode in options.modes]
        await control.close()
    kept = max(rises) < ALLOWED_PERCENT
    print(
        f"VERDICT isolation: {'kept' if kept else 'MISSED'}: the p99 rises by {max(rises):.1f} %"
        f" at most, {ALLOWED_PERCENT:g} % is allowed  ({time.perf_counter() - began:.0f} s)"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.isolation", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.5, help="of a window; default 2.5")
    parser.add_argument("--pairs", type=int, default=12, help="of windows; default 12")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("--port", type=int, default=4600, help="the gateway's; default 4600")
    options = parser.parse_args(arguments)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_bench(options))


if __name__ == "__main__":
    main()
