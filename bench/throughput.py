"""Sagas a second, place to confirmed, over HTTP at the order service.

The workload: 1 to 3 lines an order, one order in five fails at the reservation and is compensated.
Commits are durable. ``make bench`` measures the embedded default, ``make bench STORE=mongodb
BROKER=rabbitmq`` the shop on real servers, each service in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench.client import Connection
from bench.servers import Backends, cpu_s, fresh, server_cpu_s

__all__ = ["main"]

SERVICES = ("product", "order", "customer", "payment", "inventory", "shipping", "tracker")
SENT = "saga_broker_messages"
#: Commands that each service sent to its store's server.
TRIPS = "saga_store_round_trips"
ADDRESS = {"line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"}


@dataclass
class Figures:
    """What one phase showed. Latencies in seconds, from sending the order to its outcome."""

    latencies: list[float] = field(default_factory=list)
    confirmed: int = 0
    cancelled: int = 0
    others: int = 0

    def add(self, status: int, order: dict[str, object], took: float) -> None:
        self.latencies.append(took)
        if status == 200 and order["status"] == "cancelled":
            self.cancelled += 1
        elif status == 200:
            self.confirmed += 1
        else:
            self.others += 1

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1e3


class Server:
    """The shop on fresh data: in one process; on a broker that processes share, in eight."""

    def __init__(self, folder: str, port: int, carrier_step_s: float, backends: Backends) -> None:
        self.port = port
        self._environment = {
            **os.environ,
            "SHOP_STORE_URL": backends.store_url,
            "SHOP_BROKER_URL": backends.broker_url,
            "SHOP_DATA_DIR": folder,
            "SHOP_PORT_BASE": str(port),
            "SHOP_CARRIER_STEP_S": str(carrier_step_s),
            "SHOP_SEED": "demo",
            "SHOP_JWT_SECRET": secrets.token_hex(),
            "SHOP_CARRIER_SECRET": secrets.token_hex(),
        }
        services = [f"participants.{name}" for name in SERVICES]
        self._modules = [*services, "gateway"] if backends.apart else ["shop run"]
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self) -> None:
        async with asyncio.timeout(60):
            for module in self._modules:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", *module.split()), env=self._environment, stdout=PIPE
                )
                self._processes[module.rpartition(".")[2]] = process
                assert process.stdout is not None
                while b"http://" not in await process.stdout.readline():
                    if process.returncode is not None:
                        raise SystemExit(f"{module} did not start")
            await self._ready()

    async def _ready(self) -> None:
        connection = Connection("127.0.0.1", self.port)
        await connection.open()
        while True:
            _, found = await connection.send("GET", "/health/ready")
            if found["status"] == "ready":
                break
            await asyncio.sleep(0.1)
        await connection.close()

    async def stop(self) -> None:
        for process in self._processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self._processes.values():
            await process.communicate()

    def cpu_s(self) -> dict[str, float]:
        """User and system time so far, of each process and of the servers behind them."""
        ours = {name: cpu_s(process.pid) for name, process in self._processes.items()}
        return ours | (server_cpu_s() if len(ours) > 1 else {})

    def memory_mib(self) -> float:
        kibibytes = 0
        for process in self._processes.values():
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    kibibytes += int(line.split()[1])
        return kibibytes / 1024

    async def counted(self, metric: str) -> float:
        """The sum of a metric over the services; of one that all share in a process, its value."""
        readings = [await self._read(port, metric) for port in range(1, len(SERVICES) + 1)]
        shared = metric == SENT and len(self._processes) == 1
        return max(readings) if shared else sum(readings)

    async def _read(self, port: int, metric: str) -> float:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port + port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        found = [line.split() for line in text.splitlines() if line.startswith(metric)]
        return sum(float(line[-1]) for line in found)


async def _sign_in(port: int, email: str, password: str) -> str:
    connection = Connection("127.0.0.1", port)
    await connection.open()
    _, session = await connection.send(
        "POST", "/api/sessions", {"email": email, "password": password}
    )
    await connection.close()
    return f"Authorization: Bearer {session['access_token']}\r\n"


async def _stock_up(port: int, products: int) -> list[str]:
    """A catalogue with enough of everything that only the scripted fifth of the orders fails."""
    staff = await _sign_in(port, "staff@example.com", "staff-demo-password")
    connection = Connection("127.0.0.1", port)
    await connection.open()
    skus = [f"BENCH-{number:04}" for number in range(products)]
    for sku in skus:
        product = {
            "sku": sku,
            "name": f"Product {sku}",
            "description": "",
            "category": "bench",
            "price": {"amount": 1999, "currency": "USD"},
        }
        await _until(201, connection, "/api/products", product, staff)
    for sku in skus:
        adjustment = {"delta": 1_000_000, "reason": "bench"}
        await _until(200, connection, f"/api/inventory/{sku}/adjustments", adjustment, staff)
    await connection.close()
    return skus


async def _until(
    wanted: int, connection: Connection, path: str, body: object, headers: str
) -> None:
    """A new product's stock record follows by event: the first tries may find none."""
    for _ in range(100):
        status, answer = await connection.send("POST", path, body, headers)
        if status == wanted:
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"{path}: {status} {answer}")


async def _customer(port: int, headers: str, skus: list[str], seed: int, phase: Phase) -> None:
    """Places one order after the other, each when the one before has its outcome."""
    choice = random.Random(seed)
    connection = Connection("127.0.0.1", port)
    await connection.open()
    while phase.goes_on:
        lines = [
            {"sku": sku, "quantity": choice.randint(1, 2)}
            for sku in choice.sample(skus, choice.randint(1, 3))
        ]
        if choice.random() < 0.2:
            lines[-1] = {"sku": "GONE-01", "quantity": 1}
        order = {
            "lines": lines,
            "payment": {"method": "card", "token": "tok_ok"},
            "shipping_address": ADDRESS,
        }
        began = time.perf_counter()
        status, answer = await connection.send("POST", "/api/orders", order, headers)
        if phase.counts:
            phase.figures.add(status, answer, time.perf_counter() - began)
    await connection.close()


@dataclass
class Phase:
    goes_on: bool = True
    counts: bool = False
    figures: Figures = field(default_factory=Figures)


async def _measure(
    server: Server, headers: str, skus: list[str], in_flight: int, warm_s: float, run_s: float
) -> None:
    phase = Phase()
    order_port = server.port + 2
    customers = [
        asyncio.create_task(_customer(order_port, headers, skus, seed, phase))
        for seed in range(in_flight)
    ]
    await asyncio.sleep(warm_s)
    sent, trips = await server.counted(SENT), await server.counted(TRIPS)
    before, began, phase.counts = server.cpu_s(), time.perf_counter(), True
    await asyncio.sleep(run_s)
    phase.counts = False
    took = time.perf_counter() - began
    cpu = {name: spent - before.get(name, 0.0) for name, spent in server.cpu_s().items()}
    sent, trips = await server.counted(SENT) - sent, await server.counted(TRIPS) - trips
    phase.goes_on = False
    await asyncio.gather(*customers)
    figures = phase.figures
    sagas = len(figures.latencies)
    print(
        f"{in_flight:>3} in flight  {sagas / took:7.1f} sagas/s  "
        f"p50 {figures.quantile(0.5):6.2f} ms  p99 {figures.quantile(0.99):7.2f} ms  "
        f"CPU {sum(cpu.values()) / max(sagas, 1) * 1e3:5.2f} ms/saga  "
        f"memory {server.memory_mib():5.0f} MiB  "
        f"({figures.confirmed} confirmed, {figures.cancelled} compensated, {figures.others} other)"
        + (f"  {sent / max(sagas, 1):.2f} broker messages/saga" if sent else "")
        + (f"  {trips / max(sagas, 1):.2f} round trips to the store/saga" if trips else ""),
        flush=True,
    )
    if len(cpu) > 1:
        each = (f"{name} {spent / max(sagas, 1) * 1e3:.2f}" for name, spent in cpu.items())
        print(f"    CPU ms/saga: {', '.join(each)}", flush=True)


async def _bench(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="shop-bench-", dir=options.dir)
        )
        backends = await stack.enter_async_context(fresh(options.store, options.broker))
        server = Server(folder, options.port, options.carrier_step, backends)
        try:
            await server.start()
            skus = await _stock_up(options.port, options.products)
            headers = await _sign_in(options.port, "customer@example.com", "customer-demo-password")
            headers += "Prefer: wait=30\r\n"
            await _measure(server, headers, skus, 1, 1.0, options.seconds / 3)
            await _measure(server, headers, skus, 64, options.warm_up, options.seconds)
        finally:
            await server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.throughput", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="measured time; default 30")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before; default 5")
    parser.add_argument("--port", type=int, default=4300, help="port base; default 4300")
    parser.add_argument("--products", type=int, default=200, help="default 200")
    parser.add_argument(
        "--carrier-step",
        type=float,
        default=3_600.0,
        help="seconds between a parcel's moves; default 3600: none moves while this measures",
    )
    parser.add_argument("--store", default="sqlite", help="sqlite, mongodb or a URL; sqlite")
    parser.add_argument("--broker", default="embedded", help="embedded, rabbitmq or a URL")
    parser.add_argument("--dir", help="where the data folder is made; default: the system's")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_bench(parser.parse_args()))


if __name__ == "__main__":
    main()
