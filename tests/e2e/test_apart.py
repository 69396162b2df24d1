"""The shop as eight processes that only RabbitMQ joins. No service's code knows of it.

One shop for all stories here, behind a proxy that stands for the network.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.e2e.apart import SERVICES, ShopApart
from tests.e2e.conftest import until
from tests.e2e.kill.client import CUSTOMER, STAFF, Answer, Client
from tests.e2e.kill.process import ROOT
from tests.e2e.kill.servers import Queues
from tests.rabbitmq.proxy import Proxy, open_proxy
from tests.rabbitmq.server import connected, own_namespace

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUES = [*SERVICES, "dead-letters"]
ENDED_WITHIN_S = 120.0
CLIENTS = 16
#: Of each client, between an answer and its next order.
PAUSE_S = 0.4


@dataclass
class Deployment:
    shop: ShopApart
    proxy: Proxy
    session: ClientSession
    customer: Client
    staff: Client

    async def readiness(self, name: str) -> dict[str, Any]:
        async with self.session.get(f"{self.shop.address(name)}/health/ready") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def ready(self) -> None:
        for name in SERVICES:
            await until(lambda n=name: self.readiness(n), lambda found: found["status"] == "ready")

    async def place(self, key: str, **choices: Any) -> str:
        answer = await self.customer.insist("POST", "/api/orders", order(**choices), key=key)
        assert answer.status == 202, answer.body
        return str(answer.body["order_id"])

    async def ended(self, *order_ids: str) -> list[str]:
        """How these ended: the order's status and its saga's, which must agree."""
        async with asyncio.timeout(ENDED_WITHIN_S):
            return [await self._ended(order_id) for order_id in order_ids]

    async def _ended(self, order_id: str) -> str:
        while True:
            status = (await self.customer.get(f"/api/orders/{order_id}"))["status"]
            saga = await self.staff.insist("GET", f"/api/sagas/{order_id}")
            if saga.status == 200 and saga.body["finished_at"] is not None:
                ends = {"delivered": "completed", "cancelled": "compensated"}
                if status in ends:
                    assert saga.body["status"] == ends[status]
                    assert saga.body["violations"] == []
                    return str(status)
            await asyncio.sleep(0.05)


def order(
    token: str = "tok_ok", postal_code: str = "12345", sku: str = "LAMP-01", quantity: int = 1
) -> dict[str, Any]:
    address = {"line1": "1 Main St", "city": "Springfield", "country": "US"}
    return {
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment": {"method": "card", "token": token},
        "shipping_address": {**address, "postal_code": postal_code},
    }


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    """Started while there is no RabbitMQ yet."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(own_namespace(QUEUES))
        proxy = await stack.enter_async_context(open_proxy(url))
        proxy.refuse()
        folder = tmp_path_factory.mktemp("apart")
        shop = await stack.enter_async_context(ShopApart(folder, str(proxy.url)))
        await shop.start(*SERVICES, "gateway")
        session = await stack.enter_async_context(ClientSession())
        customer, staff = (Client(session, shop.url, who) for who in (CUSTOMER, STAFF))
        yield Deployment(shop, proxy, session, customer, staff)
        codes = await shop.end_all()
        assert set(codes.values()) == {0}, codes
        assert "Traceback" not in shop.complaints()


async def test_without_rabbitmq_services_wait_and_say_what_for(deployment: Deployment) -> None:
    """RabbitMQ down at start: they wait, and recover without a restart."""
    where = f"RabbitMQ at 127.0.0.1:{deployment.proxy.url.port}"
    for name in SERVICES:
        found = await deployment.readiness(name)
        assert found["checks"]["broker"].startswith(f"down: {where}: "), found
    await deployment.proxy.listen()
    await deployment.ready()


@pytest.mark.parametrize(
    ("choices", "end"),
    [
        ({}, "delivered"),
        ({"token": "tok_declined"}, "cancelled"),
        ({"postal_code": "00000"}, "cancelled"),
    ],
)
async def test_a_saga_runs_through_eight_processes(
    deployment: Deployment, choices: dict[str, str], end: str
) -> None:
    order_id = await deployment.place("runs-" + "-".join(choices.values()), **choices)
    assert await deployment.ended(order_id) == [end]


async def test_a_wait_for_an_order_is_answered(deployment: Deployment) -> None:
    answer = await deployment.customer.once(
        "POST", "/api/orders", order(), key="waits", headers={"Prefer": "wait=20"}
    )
    assert (answer.status, answer.body["status"]) == (200, "confirmed")


async def test_orders_that_come_while_rabbitmq_is_away_run_once_it_is_back(
    deployment: Deployment,
) -> None:
    """POST /api/orders still answers 202: the outbox holds the event."""
    deployment.proxy.refuse()
    order_ids = [await deployment.place(f"away-{n}") for n in range(5)]
    found = await deployment.readiness("order")
    assert found["status"] == "degraded"
    assert found["checks"]["broker"].startswith("down: RabbitMQ at ")
    await deployment.proxy.listen()
    assert await deployment.ended(*order_ids) == ["delivered"] * 5


async def test_connections_that_are_cut_lose_nothing(deployment: Deployment) -> None:
    async def cut() -> None:
        for _ in range(5):
            await asyncio.sleep(0.2)
            deployment.proxy.cut()

    cutting = asyncio.create_task(cut())
    order_ids = [await deployment.place(f"cut-{n}") for n in range(30)]
    await cutting
    assert await deployment.ended(*order_ids) == ["delivered"] * 30


async def test_a_stop_under_load_leaves_nothing_undone(deployment: Deployment) -> None:
    """SIGTERM: what was delivered is done and acked, or goes back untouched for the next start."""
    shop, queues = deployment.shop, Queues(deployment.proxy.behind, QUEUES)
    order_ids: list[str] = []
    enough = asyncio.Event()

    async def order_on(client: int) -> None:
        for n in itertools.count():
            if enough.is_set():
                return
            order_ids.append(await deployment.place(f"stop-{client}-{n}"))
            await asyncio.sleep(PAUSE_S)  # when they come, not what anybody waits for

    async with asyncio.TaskGroup() as clients:
        for client in range(CLIENTS):
            clients.create_task(order_on(client))
        for name in ("payment", "inventory", "tracker"):
            await _so_many(order_ids, len(order_ids) + CLIENTS)
            assert await shop.end(name, signal.SIGTERM) == 0
            # Of those that go on ordering there is always something to be done.
            waiting = await until(partial(queues.events, name), bool)
            documents = await asyncio.to_thread(
                _documents, Path(shop.environment["SHOP_DATA_DIR"]), name
            )
            # Others are repeats, which a relay is free to make.
            given_back = [event for event, was_out in waiting.items() if was_out]
            twice = [event for event in given_back if event.encode() in documents]
            assert not twice, "done, not acked"
            await shop.start(name)
        enough.set()
    assert set(await deployment.ended(*order_ids)) == {"delivered"}
    letters = [item async for item in deployment.staff.items("/api/dead-letters")]
    assert letters == []


def _documents(folder: Path, service: str) -> bytes:
    """All that a service has stored; in it are the ids of the messages that it has done."""
    with closing(sqlite3.connect(f"file:{folder / service}.sqlite3?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM pragma_table_list")]
        return b"".join(
            bytes(body)
            for table in tables
            if table.startswith(f"{service}__") and not table.endswith("__sent_events")
            for (body,) in database.execute(f"SELECT _body FROM {table}")
        )


async def _so_many(order_ids: list[str], count: int) -> None:
    async with asyncio.timeout(ENDED_WITHIN_S):
        while len(order_ids) < count:  # noqa: ASYNC110 - they are answered by other processes
            await asyncio.sleep(0.01)


async def test_a_lost_queue_is_filled_again_by_one_command(deployment: Deployment) -> None:
    shop, proxy = deployment.shop, deployment.proxy
    assert await shop.end("payment") == 0
    order_ids = [await deployment.place(f"lost-{n}") for n in range(3)]
    await until(lambda: deployment.staff.insist("GET", f"/api/sagas/{order_ids[-1]}"), _is_there)
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.queue_delete(f"{proxy.url.query['namespace']}.payment")
    await shop.start("payment")
    await until(lambda: _republish(deployment), lambda count: count >= len(order_ids))
    assert await deployment.ended(*order_ids) == ["delivered"] * 3


async def _republish(deployment: Deployment) -> int:
    """Run the command; how many events it says there were."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sagas", "republish", "participants.choreography:shop", "payment"),
        *("--broker", str(deployment.proxy.url), "--since", "60"),
        *("--data-dir", deployment.shop.environment["SHOP_DATA_DIR"]),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(ENDED_WITHIN_S):
        said, _ = await process.communicate()
    assert process.returncode == 0
    return int(said.split()[0])


def _is_there(answer: Answer) -> bool:
    return answer.status == 200
