"""A whole shop in a thread of its own, with something of everything in it.

In a thread, since some clients here wait for their answers without letting a loop run.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from sagas.envelope import Message
from sagas.ports import Broker
from tests.e2e.conftest import OpenShop, open_shop, until
from tests.steady import SteadyLoop

#: Neither rate nor time is what is tried here: who makes up requests keeps the machine busy.
WIDE = {
    "SHOP_CUSTOMER_RATE_PER_S": "100000",
    "SHOP_CUSTOMER_BURST": "100000",
    "SHOP_ANONYMOUS_RATE_PER_S": "100000",
    "SHOP_ANONYMOUS_BURST": "100000",
    "SHOP_ADDRESS_RATE_PER_S": "100000",
    "SHOP_ADDRESS_BURST": "100000",
    "SHOP_ADDRESS_PASSWORDS_PER_MIN": "100000",
    "SHOP_UPSTREAM_RATE_PER_S": "100000",
    "SHOP_UPSTREAM_BURST": "100000",
    "SHOP_CONNECT_TIMEOUT_S": "30",
    "SHOP_READ_TIMEOUT_S": "30",
    "SHOP_UPSTREAM_TIMEOUT_S": "35",
}
START_S = 120.0


class Stage:
    """The running shop, and the names of what is in it."""

    def __init__(self, shop: OpenShop, loop: asyncio.AbstractEventLoop) -> None:
        self.shop = shop
        self.url = shop.url
        self.loop = loop
        #: Path parameter → something that is there. The order has been delivered.
        self.known: dict[str, str] = {}
        #: Another order, which nobody names.
        self.bystander = ""

    async def furnish(self) -> None:
        shop = self.shop
        order_id = await shop.placed(sku="LAMP-01", quantity=2)
        self.bystander = await shop.placed(shop.other, sku="PEN-01")
        await shop.delivered(order_id)
        await shop.delivered(self.bystander)
        parcel = await shop.staff("GET", f"/api/shipping/{order_id}")
        self.known = {
            "order_id": order_id,
            "payment_id": order_id,
            "saga_id": order_id,
            "shipment_id": order_id,
            "tracking_number": parcel.body["tracking_number"],
            "sku": "MUG-01",
            "customer_id": shop.other.id,
            "id": await self.dead_letter(shop, "first"),
        }

    async def dead_letter(self, shop: OpenShop, name: str) -> str:
        """The id of a letter that was made for this: an event that nobody can read."""
        id_ = f"unreadable-{name}"
        message = Message(
            id=id_,
            type="CustomerDeleted",
            source="customer",
            subject=id_,
            saga_id=id_,
            time=shop.shop.clock.now(),
            data=b'{"nonsense": true}',
        )
        broker: Broker = shop.shop._backends.broker  # type: ignore[union-attr]
        published = asyncio.run_coroutine_threadsafe(broker.publish([message]), self.loop)
        await asyncio.wrap_future(published)
        found = await until(
            lambda: shop.staff("GET", "/api/dead-letters?limit=100"),
            lambda answer: any(each["message_id"] == id_ for each in answer.body["items"]),
        )
        letter = next(each for each in found.body["items"] if each["message_id"] == id_)
        return str(letter["dead_letter_id"])


class _Thread:
    """A loop that runs one coroutine until it is told to end."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._folder = folder
        self._settings = settings
        self._ready: Future[Stage] = Future()
        self._end: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="shop")

    def start(self) -> Stage:
        self._thread.start()
        return self._ready.result(START_S)

    def stop(self) -> None:
        assert self._loop is not None
        assert self._end is not None
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(START_S)

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=SteadyLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        async with open_shop(self._folder, carrier_step_s=3_600, **self._settings) as shop:
            stage = Stage(shop, self._loop)
            await stage.furnish()
            self._ready.set_result(stage)
            await self._end.wait()


@contextmanager
def stage_in(folder: Path, **settings: Any) -> Iterator[Stage]:
    """A shop of one's own, with these settings beside the usual ones."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WIDE.items():
            patch.setenv(name, value)
        thread = _Thread(folder, settings)
        opened = thread.start()
    try:
        yield opened
    finally:
        thread.stop()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Each file has its own: what one tries leaves nothing as another needs it."""
    with stage_in(tmp_path_factory.mktemp("contract")) as opened:
        yield opened


@pytest.fixture
async def shop(stage: Stage) -> AsyncIterator[OpenShop]:
    async with clients_of(stage) as opened:
        yield opened


@asynccontextmanager
async def clients_of(stage: Stage) -> AsyncIterator[OpenShop]:
    """The same shop, for clients in this loop."""
    connector = aiohttp.TCPConnector(limit=32)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        opened = OpenShop(stage.shop.shop, session)
        for name in ("customer", "staff", "other"):
            theirs = getattr(stage.shop, name)
            caller = opened.bearing(theirs.token)
            caller.id = theirs.id
            setattr(opened, name, caller)
        yield opened
