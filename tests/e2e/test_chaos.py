"""The shop as one process per service, on RabbitMQ and MongoDB, while all of them are struck.

Orders keep coming through the gateway; every few seconds a service or a server is killed, frozen,
cut off or filled up. At the end the books are read through the public API and, past the engine,
from the servers; and they must add up. ``--chaos-seed`` deals the same blows again;
``--chaos-orders`` and ``--chaos-blows`` say how much of it (``make chaos``: 20,000 orders).
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from participants.demo import DEMO_PRODUCTS
from tests.e2e.apart import SERVICES
from tests.e2e.chaos.schedule import DECK, Blow, Kind, schedule
from tests.e2e.chaos.servers import Servers, open_servers
from tests.e2e.chaos.storm import MAX_LENGTH, NAMESPACE, Network, Storm
from tests.e2e.kill.books import Fault, read_stock
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.customers import Customers
from tests.e2e.kill.judge import judged
from tests.e2e.kill.process import ShopProcess
from tests.e2e.kill.report import report
from tests.e2e.kill.servers import Documents, Queues
from tests.mongodb.proxy import open_proxy as open_mongodb_proxy
from tests.rabbitmq.proxy import open_proxy as open_rabbitmq_proxy

#: After the last blow. A pause of the supervisor's takes up to 30 s, an outage of the provider ten.
ENDED_WITHIN_S = 240.0
STOPS_WITHIN_S = 90.0
#: Blows that last, or wait for their turn. On a slow machine more would gather for one server than
#: it can be struck, and nothing but blows would go on.
AT_ONCE = 6
ASKED_AGAIN = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where the shop runs, what strikes it, and where its servers keep everything."""

    shop: ShopProcess
    servers: Servers
    network: Network
    log: Path
    documents: Documents
    queues: Queues

    async def left(self) -> list[str]:
        return [*await self.documents.left(), *await self.queues.left()]


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(open_servers(tmp_path / "servers"))
        amqp = URL(servers.amqp_url) % {"namespace": NAMESPACE, "max_length": MAX_LENGTH}
        rabbitmq = await stack.enter_async_context(open_rabbitmq_proxy(amqp))
        store_url = f"{servers.mongodb_url}chaos"
        mongodb = await stack.enter_async_context(open_mongodb_proxy(store_url))
        settings = {"broker_url": rabbitmq.url, "store_url": mongodb.url}
        shop = await stack.enter_async_context(ShopProcess(tmp_path, **settings))
        await shop.start()
        await shop.ready()
        log = tmp_path / "shop.log"
        shop.follow(log)
        network, queues = Network(rabbitmq, mongodb), Queues(amqp, (*SERVICES, "dead-letters"))
        yield Place(shop, servers, network, log, Documents(store_url), queues)


async def test_every_order_ends_well_whatever_strikes_the_shop(
    place: Place, request: pytest.FixtureRequest
) -> None:
    orders: int = request.config.getoption("--chaos-orders")
    count: int = request.config.getoption("--chaos-blows")
    seed: str = request.config.getoption("--chaos-seed")
    again = f"again with: --chaos-orders {orders} --chaos-blows {count} --chaos-seed {seed}"
    print(f"\n{orders} orders, {count} blows; {again}")
    connector = TCPConnector(limit=0)
    async with ClientSession(connector=connector) as session:
        staff = Client(session, place.shop.url, STAFF)
        before = await read_stock(staff)
        assert before == {each.sku: (each.on_hand, 0) for each in DEMO_PRODUCTS}
        customers = Customers(Client(session, place.shop.url, CUSTOMER), seed)
        killed = await _storm(place, customers, schedule(seed, count), orders, again)
        await customers.ask_again(ASKED_AGAIN)

        books, faults = await judged(
            staff,
            place.left,
            place.documents.charges,
            before,
            ENDED_WITHIN_S,
            customers.broken_promises,
        )
        faults += [Fault("", each) for each in await place.documents.trouble()]
        ends = Counter(order["code"] or "delivered" for order in books.orders.values())
        print(f"{len(books.orders)} orders: {dict(ends.most_common())}")
        if faults:
            pytest.fail(await report(faults, again, customers, staff), pytrace=False)

    code, _ = await place.shop.end(signal.SIGTERM, STOPS_WITHIN_S)
    said = place.log.read_text()
    assert code == 0, said[-4_000:]
    # What a consumer held unacked is back in its queue now that nobody is there.
    assert await place.queues.left() == []
    assert said.count(" | ended ") == said.count("ended by SIGKILL") == killed
    assert "Traceback" not in said, again
    assert not place.shop.complaints()


async def _storm(
    place: Place, customers: Customers, blows: list[Blow], orders: int, again: str
) -> int:
    """Orders keep coming while blow after blow falls; returns how many processes were killed."""
    began = time.monotonic()

    def told(blow: Blow, what: str) -> None:
        customers.kills = max(customers.kills, blow.number)
        print(
            f"{time.monotonic() - began:6.1f} s  blow {blow.number:>3} of {len(blows)}  {blow}  "
            f"{what}  [{len(customers.placed)} of {customers.tried} orders accepted]",
            flush=True,
        )

    storm = Storm(place.shop, place.servers, place.network, told)
    room = asyncio.Semaphore(AT_ONCE)
    try:
        async with asyncio.TaskGroup() as falling:
            customers.come(orders // len(blows))
            await storm.gather()
            for blow in blows:
                customers.come(orders * blow.number // len(blows) - customers.tried)
                await asyncio.sleep(blow.after_s)  # when it falls, not what anybody waits for
                await room.acquire()
                falling.create_task(storm.strike(blow)).add_done_callback(lambda _: room.release())
        await customers.served()
        while len(customers.placed) < orders:  # some gave up
            customers.come(orders - len(customers.placed))
            await customers.served()
    except BaseException as error:
        error.add_note(again)
        raise
    finally:
        await customers.leave()
    return storm.killed


# -------------------------------------------------------------------------------- the schedule


def test_the_same_seed_deals_the_same_blows_and_every_kind_is_among_25() -> None:
    for seed in ("a", "b", "c"):
        blows = schedule(seed, 25)
        assert schedule(seed, 60)[:25] == blows
        assert {blow.kind for blow in blows} == set(Kind)
    assert schedule("a", 25) != schedule("b", 25)
    assert sum(DECK.values()) == 25
