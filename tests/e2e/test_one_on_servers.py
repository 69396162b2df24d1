"""The shop in one process, on MongoDB and on RabbitMQ: what it costs them, too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from participants.settings import ShopSettings
from sagas.brokers.rabbitmq import RabbitBroker
from sagas.ports import RemoteStore
from shop.opening import tell_when_open
from shop.run import Shop
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.process import START_LIMIT_S, free_ports
from tests.e2e.test_apart import QUEUES, Deployment, order
from tests.mongodb.proxy import open_proxy
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import own_namespace

#: Within this an operation has its answer, or the store counts as away.
LIMIT_MS = 1_000


async def test_the_shop_in_one_process(tmp_path: Path) -> None:
    """An order that is placed is shipped, with MongoDB behind the embedded broker too."""
    async with own_databases("pymongo") as url, ClientSession() as session:
        settings = ShopSettings(
            data_dir=tmp_path,
            port_base=free_ports(),
            store_url=url,
            seed="demo",
            carrier_step_s=0.1,
        )
        shop = Shop(settings)
        try:
            await shop.start()
            await shop.wait_ready()
            customer, staff = (Client(session, shop.url, who) for who in (CUSTOMER, STAFF))
            here = Deployment(None, None, session, customer, staff)  # type: ignore[arg-type]
            order_ids = [await here.place(f"one-{n}") for n in range(3)]
            assert await here.ended(*order_ids) == ["delivered"] * 3
        finally:
            await shop.stop()


async def test_a_shop_in_one_process_opens_once_its_store_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with own_databases() as url, open_proxy(f"{url}&timeoutMS={LIMIT_MS}") as proxy:
        proxy.refuse()
        settings = ShopSettings(data_dir=tmp_path, port_base=free_ports(), store_url=proxy.url)
        shop = Shop(settings)
        try:
            await shop.start()
            opening = asyncio.create_task(tell_when_open(shop.settings, shop.addresses, slow_s=0.3))
            async with asyncio.timeout(START_LIMIT_S):
                await _told(capsys, f"Not open yet: {shop.url}/health/ready")
                await proxy.listen()
                await opening
            assert f"The shop is open at {shop.url}" in capsys.readouterr().out
        finally:
            await shop.stop()


async def _told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    said = ""
    while text not in said:
        await asyncio.sleep(0.02)
        said += capsys.readouterr().out


async def test_at_64_orders_in_flight_a_saga_takes_fewer_than_four_round_trips_and_messages(
    tmp_path: Path,
) -> None:
    """Unbatched it takes some twenty and seven. From the order to its confirmation; no parcel
    moves."""
    async with (
        own_databases() as url,
        own_namespace(QUEUES) as broker_url,
        ClientSession(connector=TCPConnector(limit=64)) as session,
    ):
        settings = ShopSettings(
            data_dir=tmp_path,
            port_base=free_ports(),
            store_url=url,
            broker_url=str(broker_url),
            seed="demo",
            carrier_step_s=3_600.0,
        )
        shop = Shop(settings)
        try:
            await shop.start()
            await shop.wait_ready()
            # At the service: the gateway limits how much one client may ask.
            customer = Client(session, shop.url, CUSTOMER)
            await customer.get("/api/orders")
            customer._url = shop.hosts["order"].address

            async def orders(count: int) -> None:
                for _ in range(count):
                    answer = await customer.once(
                        "POST", "/api/orders", order(), headers={"Prefer": "wait=30"}
                    )
                    assert (answer.status, answer.body["status"]) == (200, "confirmed")

            await asyncio.gather(*(orders(1) for _ in range(64)))
            before, sent = _round_trips(shop), _messages(shop)
            await asyncio.gather(*(orders(5) for _ in range(64)))
            taken = (_round_trips(shop) - before) / (64 * 5)
            sent = (_messages(shop) - sent) / (64 * 5)
            print(f"{taken:.2f} round trips and {sent:.2f} broker messages a saga")
            assert taken < 4.0
            assert 0.0 < sent < 4.0
        finally:
            await shop.stop()


def _messages(shop: Shop) -> float:
    assert shop._backends is not None
    assert isinstance(shop._backends.broker, RabbitBroker)
    return shop._backends.broker.sent


def _round_trips(shop: Shop) -> int:
    assert shop.tracker is not None
    stores = [host._store for host in (*shop.hosts.values(), shop.tracker)]
    return sum(store.round_trips for store in stores if isinstance(store, RemoteStore))
