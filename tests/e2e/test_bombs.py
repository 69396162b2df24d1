"""Bodies that are small to send and large to read: refused, and they leave no trace in memory."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from tests.e2e.conftest import Caller, order
from tests.e2e.kill.process import ShopProcess

MIB = 1024**2
#: Of each kind; so many at a time.
EACH, AT_ONCE = 30, 10
#: At every service, by somebody who may write everywhere: one of each at a time.
TARGETS = (
    ("POST", "/api/orders"),
    ("POST", "/api/carts/me/checkout"),
    ("PUT", "/api/carts/me/items/LAMP-01"),
    ("PATCH", "/api/customers/me"),
    ("POST", "/api/customers"),
    ("POST", "/api/sessions/refresh"),
    ("PUT", "/api/products/LAMP-01"),
    ("POST", "/api/inventory/LAMP-01/adjustments"),
    ("POST", "/api/payments/x/refund"),
    ("POST", "/api/dead-letters/replay"),
)
assert len(TARGETS) == AT_ONCE


def _with(field: bytes) -> bytes:
    return orjson.dumps(order())[:-1] + b"," + field + b"}"


ZEROS = b"0" * 60 * MIB
BOMBS: dict[str, tuple[bytes, dict[str, str]]] = {
    "brackets": (b"[" * 32_000 + b"]" * 32_000, {}),
    "brackets without an end": (b"[" * 65_000, {}),
    "objects in objects": (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, {}),
    "deep within an order": (_with(b'"note":' + b"[" * 30_000 + b"]" * 30_000), {}),
    "a whole number": (_with(b'"note":' + b"9" * 60_000), {}),
    "a negative number": (_with(b'"note":-' + b"9" * 60_000), {}),
    "a fraction": (_with(b'"note":0.' + b"9" * 60_000), {}),
    "an exponent": (_with(b'"note":1e' + b"9" * 60_000), {}),
    "a name": (_with(b'"' + b"n" * 60_000 + b'":1'), {}),
    "a name of escapes": (_with(b'"' + b"\\u0000" * 10_000 + b'":1'), {}),
    "the same name again": (b"{" + b'"a":1,' * 10_000 + b'"a":1}', {}),
    "a list of a million": (b"[" + b"1," * 999_999 + b"1]", {}),
    "a million lines": (_with(b'"lines":[' + b"{}," * 999_999 + b"{}]"), {}),
    "gzip": (gzip.compress(ZEROS), {"Content_Encoding": "gzip"}),
    "x-gzip": (gzip.compress(ZEROS), {"Content_Encoding": "x-gzip"}),
    "deflate": (zlib.compress(ZEROS), {"Content_Encoding": "deflate"}),
    "gzip that says nothing": (gzip.compress(ZEROS), {}),
    "spaces": (b" " * 2_000_000 + b"{}", {}),
}
#: These two reach the parser as what they are.
assert all(len(raw) <= 65_536 for name, (raw, _) in BOMBS.items() if "zip" in name)


@pytest_asyncio.fixture
async def process(tmp_path: Path) -> AsyncIterator[ShopProcess]:
    async with ShopProcess(tmp_path) as process:
        await process.start()
        await process.ready()
        yield process


def _resident(process: ShopProcess) -> int:
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    return int(fields[1]) * 4_096


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_bombs_are_refused_and_take_no_memory(process: ShopProcess) -> None:
    connector = aiohttp.TCPConnector(limit=AT_ONCE)
    async with aiohttp.ClientSession(connector=connector) as session:
        caller = Caller(session, process.url)
        sent = {"email": "staff@example.com", "password": "staff-demo-password"}
        caller.token = (await caller("POST", "/api/sessions", sent)).body["access_token"]
        for _ in range(20):  # what an ordinary day takes is no growth
            assert (await caller("POST", "/api/orders", order())).status == 202
        before = most = _resident(process)
        seen: dict[str, Counter[Any]] = {}
        for name, (raw, headers) in BOMBS.items():
            seen[name] = Counter()
            for _ in range(EACH // AT_ONCE):
                thrown = [_thrown(caller, target, raw, headers) for target in TARGETS]
                for answer in asyncio.as_completed(thrown):
                    seen[name][await answer] += 1
                    most = max(most, _resident(process))
        assert (await caller("GET", "/api/orders")).status == 200
    odd = {name: told for name, told in seen.items() if not set(told) <= {400, 413}}
    assert not odd
    assert all(told.total() == EACH for told in seen.values())
    grown = most - before
    print(f"{sum(each.total() for each in seen.values())} bombs: {grown / MIB:.1f} MiB")
    assert grown < 20 * MIB


async def _thrown(
    caller: Caller, target: tuple[str, str], raw: bytes, headers: dict[str, str]
) -> int:
    sent = {"Content_Type": "application/json", **headers}
    for _ in range(20):
        try:
            return (await caller(*target, raw=raw, **sent)).status
        except aiohttp.ClientConnectionError:
            continue  # refused and closed while most of it was still on its way
    raise AssertionError("no answer was ever read")
