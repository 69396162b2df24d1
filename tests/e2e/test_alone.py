"""Each service, the tracker and the gateway run alone, in a process of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.e2e.kill.process import START_LIMIT_S, free_ports

PORTS = {
    "participants.product": 1,
    "participants.order": 2,
    "participants.customer": 3,
    "participants.payment": 4,
    "participants.inventory": 5,
    "participants.shipping": 6,
    "participants.tracker": 7,
    "gateway": 0,
}


def _environment(folder: Path, base: int) -> dict[str, str]:
    return {
        **os.environ,
        "SHOP_JWT_SECRET": "a secret for this test, long enough",
        "SHOP_DATA_DIR": str(folder),
        "SHOP_PORT_BASE": str(base),
    }


@pytest.mark.parametrize("module", PORTS)
async def test_it_starts_alone_says_that_it_lives_and_stops(module: str, tmp_path: Path) -> None:
    base = free_ports()
    port = base + PORTS[module]
    environment = _environment(tmp_path, base)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_LIMIT_S), ClientSession() as session:
            said = (await process.stdout.readline()).decode()
            assert str(port) in said
            async with session.get(f"http://127.0.0.1:{port}/health/live") as answer:
                assert answer.status == 200
            url = f"http://127.0.0.1:{port}/nothing?password=secret"
            async with session.get(url, headers={"X-Request-Id": "find-me"}) as answer:
                assert answer.status in (404, 503)
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(START_LIMIT_S):
            (logged, _) = await process.communicate()
    assert process.returncode == 0
    (line,) = logged.decode().splitlines()
    name = module.rpartition(".")[2]
    assert re.search(rf" {name}: GET /nothing (404|503) in [\d.]+ ms, request find-me$", line)


@pytest.mark.parametrize("module", [name for name in PORTS if name != "gateway"])
async def test_several_processes_need_one_secret(module: str, tmp_path: Path) -> None:
    environment = _environment(tmp_path, 40_000)
    del environment["SHOP_JWT_SECRET"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=environment, stdout=PIPE, stderr=PIPE
    )
    async with asyncio.timeout(START_LIMIT_S):
        _, said = await process.communicate()
    assert process.returncode == 2
    assert b"SHOP_JWT_SECRET" in said
    assert said.count(b"\n") == 1
