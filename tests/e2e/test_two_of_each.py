"""Two instances of each service share its queue and its store: whichever stalls or dies, whenever,
nothing is lost and nothing happens twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector

from gateway.settings import SERVICE_PORTS
from participants.choreography import shop as choreography
from sagas.tracker import plan_of
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from tests.e2e.kill.books import read_stock
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.customers import Customers
from tests.e2e.kill.judge import judged
from tests.e2e.kill.process import ShopProcess
from tests.e2e.kill.servers import Documents, Queues
from tests.e2e.kill.wishes import PLAIN, Wish
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import own_namespace

WAITS = 8
STALLED = 60
ORDERS = 140
#: Orders that are answered before the next instance is killed.
PACE = 15
ENDS_WITHIN_S = 120.0
STOPS_WITHIN_S = 60.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TwoOfEach:
    """The shop, and what it keeps on its servers."""

    def __init__(self, process: ShopProcess, documents: Documents, queues: Queues) -> None:
        self.process = process
        self.documents = documents
        self.queues = queues

    async def left(self) -> list[str]:
        return [*await self.documents.left(), *await self.queues.left()]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TwoOfEach]:
    plan = plan_of(choreography)
    queues = choreography.queues(tracker_of(plan), dead_letters_of(plan.redaction))
    async with own_databases() as store_url, own_namespace(queues) as broker_url:
        # So that the server soon gives up an instance that stands still.
        broker_url = broker_url.update_query(heartbeat=1)
        settings = {"store_url": store_url, "broker_url": broker_url}
        folder = tmp_path_factory.mktemp("two-of-each")
        async with ShopProcess(folder, instances=2, **settings) as process:
            await process.start()
            await process.ready()
            yield TwoOfEach(process, Documents(store_url), Queues(broker_url, queues))


async def test_instances_stall_and_die_under_load_and_the_books_add_up(shop: TwoOfEach) -> None:
    async with ClientSession(connector=TCPConnector(limit=0)) as session:
        staff = Client(session, shop.process.url, STAFF)
        customers = Customers(Client(session, shop.process.url, CUSTOMER), "two-of-each")
        before = await read_stock(staff)
        try:
            await _stall(shop, customers, staff)
            before_kills = len(customers.placed)
            customers.come(ORDERS)
            for number, service in enumerate(SERVICE_PORTS):
                await _answered(customers, before_kills + PACE * (number + 1))
                victims = shop.process.instances(service)
                assert len(victims) == 2
                os.kill(victims[number % 2], signal.SIGKILL)
            async with asyncio.timeout(ENDS_WITHIN_S):
                await customers.served()
        finally:
            await customers.leave()
        _, faults = await judged(
            staff,
            shop.left,
            shop.documents.charges,
            before,
            ENDS_WITHIN_S,
            customers.broken_promises,
        )
        assert faults == []


async def _stall(shop: TwoOfEach, customers: Customers, staff: Client) -> None:
    """An instance of inventory stands still amid its messages until the other one has done them
    all; then it wakes up and goes on with what it had."""
    stalled = shop.process.instances("inventory")[0]
    customers.come(STALLED)
    await _answered(customers, PACE)
    os.kill(stalled, signal.SIGSTOP)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            while await shop.queues.consumers("inventory") > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            await customers.served()
            while (await staff.get("/api/orders?status=paid"))["items"]:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    finally:
        os.kill(stalled, signal.SIGCONT)


async def _answered(customers: Customers, count: int) -> None:
    async with asyncio.timeout(ENDS_WITHIN_S):
        while True:
            customers.come(0)  # raises what one of them ran into
            if len(customers.placed) >= count:
                return
            await asyncio.sleep(0.02)  # they are answered by other processes


async def test_who_waits_is_answered_whichever_instance_hears_the_event(shop: TwoOfEach) -> None:
    """The gateway takes turns: here are more orders than one instance gets by itself."""
    async with ClientSession() as session:
        customer = Client(session, shop.process.url, CUSTOMER)
        for number in range(WAITS):
            wish = Wish(f"waits-{number}", "", {"MUG-01": 1}, "tok_ok", PLAIN, None, False)
            placed = await customer.once(
                "POST", "/api/orders", wish.body, key=wish.key, headers={"Prefer": "wait=30"}
            )
            assert placed.status == 200
            # Its parcel may move before the store is asked again.
            assert placed.body["status"] in ("confirmed", "shipped", "delivered")
        heard = await asyncio.gather(
            *(customer.stream(f"/api/sagas/{placed.body['order_id']}/events") for _ in range(WAITS))
        )
        assert {events[-1] for events in heard} == {"ParcelDelivered"}


async def test_the_survivors_stop_in_good_order(shop: TwoOfEach) -> None:
    code, said = await shop.process.end(signal.SIGTERM, STOPS_WITHIN_S)
    assert code == 0, said
    assert said.count("ended by SIGKILL; starts again") == len(SERVICE_PORTS)
