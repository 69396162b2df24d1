"""Workers and journal are killed again and again while sagas flow through a real Kafka.

The journal lives in the shop's process here, which is killed with it. ``--insight-kills N`` says
how often (``make soak``: 50 times).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientSession

from tests.backends import KAFKA_URL, require
from tests.e2e.kill.books import unended
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.customers import Customers
from tests.e2e.kill.process import ShopProcess, free_ports
from tests.kafka.workers import SECRET, WorkerProcess, brokers, saga_table

SAGAS = 2_000
#: The provider's outage takes some ten seconds to give up on; a worker's recovery as long.
ENDED_WITHIN_S = 240.0


async def test_every_saga_is_counted_once_however_often_workers_and_journal_are_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    require(KAFKA_URL)
    kills: int = request.config.getoption("--insight-kills")
    seed: str = request.config.getoption("--kill-seed")
    topic = f"kills-{uuid4().hex[:8]}"
    url, port = f"kafka://{brokers()}/{topic}", free_ports(2)
    workers = [WorkerProcess(tmp_path, url, port + number) for number in range(2)]
    settings: dict[str, Any] = {
        "journal_url": url,
        "insight_urls": ",".join(each.url for each in workers),
        "jwt_secret": SECRET,
        "carrier_step_s": 0.1,
    }
    async with (
        ShopProcess(tmp_path, **settings) as shop,
        workers[0],
        workers[1],
        ClientSession() as session,
    ):
        await shop.start()
        await shop.ready()
        customers = Customers(Client(session, shop.url, CUSTOMER), seed)
        staff = Client(session, shop.url, STAFF)
        try:
            await _kill(shop, workers, customers, kills, Random(f"{seed}/insight"))
        finally:
            await customers.leave()
        orders = await _ended(staff)
        whole = await _told(staff, len(orders))
        table = await saga_table(topic)
        failures = await staff.get("/api/insight/failures?window=1d")
        codes = Counter(
            [each["failure"]["code"] async for each in staff.items("/api/sagas") if each["failure"]]
        )
    print(f"\n{kills} kills, {len(orders)} sagas: {Counter(orders.values())}")

    # By saga: each is there, and stands where its order does.
    kept = {"completed" if code is None else "compensated" for code in orders.values()}
    assert kept == {"completed", "compensated"}
    assert {saga_id: state.view.status.value for saga_id, state in table.items()} == {
        saga_id: "completed" if code is None else "compensated" for saga_id, code in orders.items()
    }
    # The sums: windows, too, since each says up to which place it has counted.
    cancelled = sum(code is not None for code in orders.values())
    assert whole["windows"]["1d"]["started"] == len(orders)
    assert whole["windows"]["1d"]["completed"] == len(orders) - cancelled
    assert whole["windows"]["1d"]["compensated"] == cancelled
    told = Counter[str]()
    for each in failures["windows"]["1d"]["by_code"]:
        told[each["code"]] += each["count"]
    assert told == codes, "not the reasons that the tracker's own store has"
    assert whole["violations"] == 0
    assert whole["in_flight"] == {}


async def _kill(
    shop: ShopProcess,
    workers: list[WorkerProcess],
    customers: Customers,
    kills: int,
    chance: Random,
) -> None:
    """Orders keep coming, whoever is just dead."""
    for kill in range(1, kills + 1):
        customers.come(SAGAS * kill // (kills + 1) - customers.tried)
        await asyncio.sleep(chance.uniform(0.5, 4.0))  # let them live that long
        victim = chance.choice([shop, *workers])
        await victim.kill()
        customers.kills = kill
        await asyncio.sleep(chance.choice((0.0, 0.0, 2.0)))
        await victim.start()
        if victim is shop:
            await shop.ready()
    while customers.tried < SAGAS:
        customers.come(SAGAS - customers.tried)
        await customers.served()
    await customers.served()


async def _ended(staff: Client) -> dict[str, str | None]:
    """The stores' own word on every order: the code of its cancellation, or none."""
    async with asyncio.timeout(ENDED_WITHIN_S):
        while await unended(staff):  # noqa: ASYNC110 - another process can only be asked
            await asyncio.sleep(0.5)
    return {
        order["order_id"]: order["cancellation"] and order["cancellation"]["code"]
        async for order in staff.items("/api/orders")
    }


async def _told(staff: Client, count: int) -> dict[str, Any]:
    """The overview, once it has heard of as many ends as there are; then it must stay so."""
    end = time.monotonic() + ENDED_WITHIN_S
    while time.monotonic() < end:
        day = (await staff.get("/api/insight/overview"))["windows"]["1d"]
        if day["completed"] + day["compensated"] >= count:
            break
        await asyncio.sleep(1.0)
    await asyncio.sleep(2.0)
    whole: dict[str, Any] = await staff.get("/api/insight/overview")
    return whole
