"""All of it at once, as `make run STORE=mongodb BROKER=rabbitmq JOURNAL=kafka`: each service, the
journal and two workers in processes of their own. What is forged onto the exchange is reported.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aio_pika
import orjson
import pytest_asyncio
from aiohttp import ClientSession
from yarl import URL

from participants.settings import JOURNAL_PORT, WORKER_PORT, WORKERS
from sagas.insight.address import JOURNAL
from tests.backends import KAFKA_URL, require
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.process import ShopProcess
from tests.e2e.test_apart import QUEUES, order
from tests.kafka.workers import brokers
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import connected, own_namespace

#: What is impossible is told within one or two: staff hear what was so a second ago.
CAUSE_WAIT_S = 6.0
#: Beside other tests, on two cores.
SOON_S = 60.0


@dataclass
class Deployment:
    shop: ShopProcess
    session: ClientSession
    customer: Client
    staff: Client
    exchange: str

    async def placed(self, **choices: Any) -> str:
        key = uuid4().hex
        answer = await self.customer.insist("POST", "/api/orders", order(**choices), key=key)
        assert answer.status == 202, answer.body
        return str(answer.body["order_id"])

    async def ended(self, order_id: str) -> str:
        saga = await _until(
            lambda: self.staff.insist("GET", f"/api/sagas/{order_id}"),
            lambda found: found.status == 200 and found.body["finished_at"] is not None,
        )
        return str(saga.body["status"])

    async def told(self, path: str, wanted: Callable[[Any], bool]) -> Any:
        return await _until(lambda: self.staff.get(f"/api/insight/{path}"), wanted)

    async def forge(self, saga_id: str, type_: str, source: str, **attributes: str) -> str:
        """As any client of RabbitMQ may."""
        id_ = f"forged-{uuid4().hex}"
        attributes = {
            "specversion": "1.0",
            "id": id_,
            "type": type_,
            "source": f"/{source}",
            "subject": saga_id,
            "correlationid": saga_id,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **attributes,
        }
        forged = aio_pika.Message(
            orjson.dumps({"order_id": saga_id, "code": "forged", "detail": "Forged."}),
            content_type="application/json",
            headers={f"cloudEvents:{name}": value for name, value in attributes.items()},
        )
        async with connected() as channel:
            exchange = await channel.get_exchange(self.exchange)
            await exchange.publish(forged, routing_key=type_)
        return id_

    async def shared(self) -> list[int]:
        """How many partitions each worker answers for."""
        told = [await self.metrics(WORKER_PORT + number) for number in range(WORKERS)]
        return [sum(name.startswith("insight_events{") for name in each) for each in told]

    async def metrics(self, offset: int) -> dict[str, float]:
        async with self.session.get(f"http://127.0.0.1:{self.shop.port + offset}/metrics") as told:
            lines = (await told.text()).splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(figure) for name, figure in pairs}


async def _until(ask: Callable[[], Awaitable[Any]], is_so: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + SOON_S
    while not is_so(found := await ask()):
        assert time.monotonic() < end, f"still not so: {found}"
        await asyncio.sleep(0.1)
    return found


@pytest_asyncio.fixture
async def deployment(tmp_path: Path) -> AsyncIterator[Deployment]:
    require(KAFKA_URL)
    async with (
        own_databases() as store_url,
        own_namespace([*QUEUES, JOURNAL]) as broker_url,
        ShopProcess(
            tmp_path,
            ports=WORKER_PORT + WORKERS,
            store_url=store_url,
            broker_url=broker_url,
            journal_url=f"kafka://{brokers()}/servers-{uuid4().hex[:8]}",
            cause_wait_s=CAUSE_WAIT_S,
            carrier_step_s=0.1,
        ) as shop,
        ClientSession() as session,
    ):
        await shop.start()
        await shop.ready()
        shop.follow(tmp_path / "stdout.log")
        clients = (Client(session, shop.url, who) for who in (CUSTOMER, STAFF))
        exchange = f"{URL(str(broker_url)).query['namespace']}.events"
        yield Deployment(shop, session, *clients, exchange)


async def test_the_stream_tells_of_every_order_and_of_what_is_forged_onto_the_exchange(
    deployment: Deployment,
) -> None:
    here = deployment
    orders = [
        await here.placed(),
        await here.placed(token="tok_declined"),
        await here.placed(postal_code="99999"),
    ]
    ends = [await here.ended(each) for each in orders]
    assert ends == ["completed", "compensated", "compensated"]
    wanted = {"started": 3, "completed": 1, "compensated": 2}
    told = await here.told("overview", lambda told: wanted.items() <= told["windows"]["1d"].items())
    assert told["violations"] == 0
    assert told["in_flight"] == {}
    journal = await here.metrics(JOURNAL_PORT)
    assert journal["journal_forwarded"] >= told["windows"]["1d"]["events"]
    assert (journal["journal_waiting"], journal["journal_lag_seconds"]) == (0, 0)
    await _until(here.shared, lambda counts: sum(counts) == 4 and all(counts))

    # Impossible in any order: at once. And what only lacks its cause: after its waiting time.
    began = time.monotonic()
    impossible = await here.forge(orders[0], "StockRejected", "inventory")
    unheard = str(uuid4())
    lacking = await here.forge(unheard, "ParcelDispatched", "shipping", causationid="nobody")
    found = await _violation(here, impossible)
    assert time.monotonic() - began < CAUSE_WAIT_S
    assert (found["saga_id"], found["code"], found["status"]) == (
        orders[0],
        "SAGA605",
        "impossible",
    )
    assert found["rule"].startswith("reserve_stock comes to one outcome")
    assert [each["type"] for each in found["trace"]][:2] == ["OrderPlaced", "PaymentTaken"]
    found = await _violation(here, lacking)
    assert time.monotonic() - began >= CAUSE_WAIT_S
    assert (found["saga_id"], found["status"]) == (unheard, "unconfirmed")
    assert (found["code"], found["trace"]) == ("SAGA610", [])


async def _violation(here: Deployment, event_id: str) -> Any:
    def mine(told: Any) -> list[Any]:
        return [each for each in told["items"] if each["event"]["event_id"] == event_id]

    told = await here.told("violations", lambda told: bool(mine(told)))
    return mine(told)[0]
