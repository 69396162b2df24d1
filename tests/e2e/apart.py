"""The shop as a deployment: each service, the tracker and the gateway a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from tests.e2e.kill.process import ROOT, free_ports, module_of

__all__ = ["SERVICES", "ShopApart"]

SERVICES = ("product", "order", "customer", "payment", "inventory", "shipping", "tracker")
#: Far more than either takes: only a service that hangs needs as long.
START_LIMIT_S = 120.0
STOP_LIMIT_S = 60.0


class ShopApart:
    """Each service has data of its own; the URL of the broker is all that joins them."""

    def __init__(self, folder: Path, broker_url: str, store_url: str = "sqlite:") -> None:
        self.errors = folder / "stderr.log"
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
        self.environment |= {
            "SHOP_DATA_DIR": str(folder / "data"),
            "SHOP_PORT_BASE": str(self.port),
            "SHOP_BROKER_URL": broker_url,
            "SHOP_STORE_URL": store_url,
            "SHOP_JWT_SECRET": "a secret for this test, long enough",
            "SHOP_CARRIER_SECRET": "another secret for this test, long enough",
            "SHOP_CARRIER_STEP_S": "0.2",
            "SHOP_SEED": "demo",
        }
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port + 1 + SERVICES.index(name)}"

    async def start(self, *names: str) -> None:
        """Start these, and wait until they listen."""
        async with asyncio.timeout(START_LIMIT_S):
            await asyncio.gather(*(self._start(name) for name in names))

    async def _start(self, name: str) -> None:
        with self.errors.open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module_of(name)),
                cwd=ROOT,
                env=self.environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        self._processes[name] = process
        assert process.stdout is not None
        said = await process.stdout.readline()
        assert b"http://" in said, f"{name} did not start:\n{self.complaints()[-4_000:]}"

    async def end(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; the exit code."""
        process = self._processes.pop(name)
        if process.returncode is None:
            process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await process.communicate()
        except TimeoutError:
            process.kill()
            await process.communicate()
            raise AssertionError(f"{name} is still there after {number.name}") from None
        assert process.returncode is not None
        return process.returncode

    async def end_all(self) -> dict[str, int]:
        """The exit codes."""
        names = list(self._processes)
        codes = await asyncio.gather(*(self.end(name) for name in names))
        return dict(zip(names, codes, strict=True))

    def complaints(self) -> str:
        """What all of them printed to stderr."""
        return self.errors.read_text() if self.errors.exists() else ""

    async def __aenter__(self) -> ShopApart:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
            await process.communicate()
