"""The shop on MongoDB: what a change of URL does, and what it goes through. No service knows of it.

One shop for all stories here, in eight processes on RabbitMQ, each with a database of its own; a
proxy before MongoDB stands for the network.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from shop.demo import ROWS, Row
from tests.e2e.apart import SERVICES, ShopApart
from tests.e2e.conftest import until
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.process import ROOT
from tests.e2e.test_apart import ENDED_WITHIN_S, QUEUES, Deployment
from tests.mongodb.proxy import Proxy, open_proxy
from tests.mongodb.server import own_databases
from tests.rabbitmq.proxy import open_proxy as open_rabbit_proxy
from tests.rabbitmq.server import own_namespace
from tests.scenarios.test_outcomes import VIEWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Lamps of the demo.
ON_HAND = 100_000
#: Within this an operation has its answer, or the store counts as away.
LIMIT_MS = 1_000


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mongodb() -> AsyncIterator[Proxy]:
    """Not there yet."""
    async with own_databases() as url, open_proxy(f"{url}&timeoutMS={LIMIT_MS}") as proxy:
        proxy.refuse()
        yield proxy


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deployment(
    tmp_path_factory: pytest.TempPathFactory, mongodb: Proxy
) -> AsyncIterator[Deployment]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(own_namespace(QUEUES))
        rabbit = await stack.enter_async_context(open_rabbit_proxy(url))
        folder = tmp_path_factory.mktemp("apart")
        shop = await stack.enter_async_context(ShopApart(folder, str(rabbit.url), mongodb.url))
        await shop.start(*SERVICES, "gateway")
        session = await stack.enter_async_context(ClientSession())
        customer, staff = (Client(session, shop.url, who) for who in (CUSTOMER, STAFF))
        yield Deployment(shop, rabbit, session, customer, staff)
        codes = await shop.end_all()
        assert set(codes.values()) == {0}, codes
        assert "Traceback" not in shop.complaints()


async def test_without_mongodb_services_wait_and_say_what_for(
    deployment: Deployment, mongodb: Proxy
) -> None:
    """MongoDB down at start: they wait, and recover without a restart."""
    try:
        for name in SERVICES:
            found = await until(
                partial(deployment.readiness, name),
                lambda found: found["checks"]["store"].startswith("down: MongoDB at 127.0.0.1:"),
            )
            assert found["status"] == "unavailable"
        answer = await deployment.session.get(f"{deployment.shop.address('order')}/api/orders")
        assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    finally:
        await mongodb.listen()  # the stories behind this one wait for it
    await deployment.ready()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scripted(deployment: Deployment) -> dict[str, str]:
    """An order for each row of the outcome table, all at once: row → order id."""
    order_ids = await asyncio.gather(
        *(
            deployment.place(
                f"row-{number}",
                token=row.token,
                postal_code=row.postal_code,
                sku=row.sku,
                quantity=row.quantity,
            )
            for number, row in enumerate(ROWS)
        )
    )
    return {row.title: order_id for row, order_id in zip(ROWS, order_ids, strict=True)}


@pytest.mark.parametrize(
    ("row", "view"), list(zip(ROWS, VIEWS.values(), strict=True)), ids=[row.title for row in ROWS]
)
async def test_each_outcome_through_eight_processes_with_a_database_each(
    deployment: Deployment, scripted: dict[str, str], row: Row, view: str
) -> None:
    order_id = scripted[row.title]
    assert await deployment.ended(order_id) == [row.status]
    order = await deployment.customer.get(f"/api/orders/{order_id}")
    assert (order["cancellation"] or {}).get("code") == row.code
    saga = await deployment.staff.get(f"/api/sagas/{order_id}")
    assert [step["status"] for step in saga["steps"]] == view.split()
    payments = (await deployment.staff.get(f"/api/payments?order_id={order_id}"))["items"]
    assert sum(payment["charges"] for payment in payments) == row.charges


async def test_an_order_that_is_cancelled_on_request_is_undone(deployment: Deployment) -> None:
    order_id = await deployment.place("regretted", token="tok_flaky")
    answer = await deployment.customer.insist("POST", f"/api/orders/{order_id}/cancel", {})
    assert answer.status == 202
    assert await deployment.ended(order_id) == ["cancelled"]
    order = await deployment.customer.get(f"/api/orders/{order_id}")
    assert order["cancellation"]["code"] == "cancelled_by_customer"


async def test_an_outage_pauses_and_spends_nobodys_retries(
    deployment: Deployment, mongodb: Proxy
) -> None:
    order_ids = [await deployment.place(f"away-{n}") for n in range(5)]
    mongodb.refuse()
    placing = asyncio.gather(*(deployment.place(f"meanwhile-{n}") for n in range(5)))
    found = await until(
        lambda: deployment.readiness("payment"), lambda found: found["status"] == "unavailable"
    )
    assert found["checks"]["store"].startswith("down: MongoDB at ")
    await mongodb.listen()
    await _all_delivered(deployment, *order_ids, *await placing)


async def test_a_server_that_stands_still_loses_nothing(
    deployment: Deployment, mongodb: Proxy
) -> None:
    """SIGSTOP: no connection is closed, nothing answers; and what was asked may be done or not."""
    order_ids = [await deployment.place(f"before-{n}") for n in range(5)]
    placing = asyncio.gather(*(deployment.place(f"frozen-{n}") for n in range(20)))
    await asyncio.sleep(0.2)
    mongodb.freeze()
    await asyncio.sleep(3 * LIMIT_MS / 1000)
    mongodb.thaw()
    await _all_delivered(deployment, *order_ids, *await placing)


async def test_answers_that_get_lost_under_load_do_nothing_twice(
    deployment: Deployment, mongodb: Proxy
) -> None:
    async def lose() -> None:
        for number in range(10):
            mongodb.lose_answer_to = ("update", "insert")[number % 2]
            await asyncio.sleep(0.1)

    losing = asyncio.create_task(lose())
    order_ids = [await deployment.place(f"lost-{n}") for n in range(30)]
    await losing
    assert mongodb.lost.is_set()
    await _all_delivered(deployment, *order_ids)


async def test_a_service_that_is_killed_goes_on_where_it_was(deployment: Deployment) -> None:
    placing = asyncio.gather(*(deployment.place(f"kill-{n}") for n in range(30)))
    for name in ("payment", "inventory", "shipping", "tracker"):
        await asyncio.sleep(0.2)
        await deployment.shop.end(name, signal.SIGKILL)
        await deployment.shop.start(name)
    await _all_delivered(deployment, *await placing)


async def test_sent_events_are_found_in_every_services_database(
    deployment: Deployment, mongodb: Proxy
) -> None:
    order_id = await deployment.place("kept")
    assert await deployment.ended(order_id) == ["delivered"]

    async def republished() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sagas", "republish", "participants.choreography:shop"),
            *("payment", "--broker", str(deployment.proxy.url), "--store", mongodb.url),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(ENDED_WITHIN_S):
            said, _ = await process.communicate()
        assert process.returncode == 0
        return int(said.split()[0])

    assert await until(republished, lambda count: count > 0)


async def _all_delivered(deployment: Deployment, *order_ids: str) -> None:
    """Each once and at the first try; and the goods add up."""
    assert set(await deployment.ended(*order_ids)) == {"delivered"}
    for order_id in order_ids:
        saga = await deployment.staff.get(f"/api/sagas/{order_id}")
        tries = {step["name"]: step["attempts"] for step in saga["steps"]}
        assert set(tries.values()) <= {0, 1}, tries
    letters = [item async for item in deployment.staff.items("/api/dead-letters")]
    assert letters == []
    orders = [item async for item in deployment.customer.items("/api/orders")]
    sent = sum(each["status"] == "delivered" for each in orders)
    lost = sum(each["shipment"]["status"] == "lost" for each in orders)
    stock = await until(
        lambda: deployment.staff.get("/api/inventory/LAMP-01"), lambda found: not found["reserved"]
    )
    assert stock["on_hand"] == ON_HAND - sent - lost
