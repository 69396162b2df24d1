"""The whole shop in this process, on ports of its own, as clients see it: through the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import orjson
import pytest
import pytest_asyncio
from yarl import URL

from participants.settings import ShopSettings
from participants.shipping.webhook import sign
from shop.run import Shop
from tests.contract.promises import broken_promise
from tests.e2e.kill.process import free_ports

T = TypeVar("T")

PASSWORD = "correct horse battery"
ADDRESS = {"line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"}
#: What is eventual is true within this, on a busy machine too.
SOON_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers`` know no case."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def code(self) -> str:
        """The problem's stable word."""
        return str(self.body["code"])

    @property
    def is_replayed(self) -> bool:
        return self.headers.get("Idempotent-Replayed") == "true"


class Caller:
    """Somebody who sends requests, with their token if they have one."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str = "") -> None:
        self._session = session
        self.url = url
        self.token = token
        self.id = ""

    async def __call__(
        self, method: str, path: str, json: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> Answer:
        """Send ``json``, or ``raw`` without a word about what it is. ``If_Match=…`` is a header."""
        async with self._request(method, path, json, raw, headers) as response:
            answer = Answer(response.status, response.headers.copy(), await response.read())
        if path.startswith("/"):
            assert (broken := broken_promise(method, path, answer.status, answer.raw)) is None, (
                broken
            )
        return answer

    async def stream(self, path: str, **headers: str) -> list[dict[str, str]]:
        """The messages of an event stream, read to its end: id, event, data."""
        headers["Accept"] = "text/event-stream"
        async with asyncio.timeout(SOON_S), self._request("GET", path, headers=headers) as response:
            assert response.status == 200, await response.text()
            text = await response.text()
        blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]

    def _request(
        self,
        method: str,
        path: str,
        json: Any = None,
        raw: bytes | None = None,
        headers: Mapping[str, str] = {},
    ) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("Authorization", f"Bearer {self.token}")
        if json is not None:
            raw = dumps(json).encode()  # the standard library's also writes what no client should
            sent.setdefault("Content-Type", "application/json")
        url = path if path.startswith("http") else self.url + path
        return self._session.request(
            method,
            URL(url, encoded=True),
            data=raw,
            headers=sent,
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
        )


class OpenShop:
    """A running shop and those who use it."""

    def __init__(self, shop: Shop, session: aiohttp.ClientSession) -> None:
        self.shop = shop
        self.url = shop.url
        self.settings = shop.settings
        self._session = session
        self.anonymous = Caller(session, self.url)
        self.customer = self.other = self.staff = self.anonymous

    async def admit(self) -> None:
        """The demo's two sign in, and somebody else registers."""
        self.customer = await self.signed_in("customer@example.com", "customer-demo-password")
        self.staff = await self.signed_in("staff@example.com", "staff-demo-password")
        self.other = await self.registered("other@example.com")

    def bearing(self, token: str) -> Caller:
        """Somebody with a token of the test's making."""
        return Caller(self._session, self.url, token)

    async def signed_in(self, email: str, password: str = PASSWORD) -> Caller:
        body = {"email": email, "password": password}
        session = (await self.anonymous("POST", "/api/sessions", body)).body
        caller = self.bearing(session["access_token"])
        caller.id = session["customer_id"]
        return caller

    async def registered(self, email: str) -> Caller:
        body = {"name": "Somebody Else", "email": email, "password": PASSWORD}
        answer = await self.anonymous("POST", "/api/customers", body)
        assert answer.status == 201, answer.raw
        return await self.signed_in(email)

    async def product(self, sku: str, on_hand: int = 0, **changes: Any) -> None:
        """A product that can be ordered: every service has heard of it."""
        made = await self.staff("POST", "/api/products", {**product(sku), **changes})
        assert made.status == 201, made.raw
        if on_hand:
            path, body = f"/api/inventory/{sku}", {"delta": on_hand, "reason": "first delivery"}
            await until(lambda: self.staff("GET", path), lambda found: found.status == 200)
            assert (await self.staff("POST", f"{path}/adjustments", body)).status == 200
        await self.orderable(sku, 200)

    async def orderable(self, sku: str, status: int) -> None:
        """Wait until the order service knows the product (200), or that it is archived (422)."""
        path = f"/api/carts/me/items/{sku}"
        await until(
            lambda: self.staff("PUT", path, {"quantity": 1}),
            lambda found: found.status == status,
        )

    async def placed(self, caller: Caller | None = None, **choices: Any) -> str:
        """The id of a new order."""
        answer = await (caller or self.customer)("POST", "/api/orders", order(**choices))
        assert answer.status == 202, answer.raw
        return str(answer.body["order_id"])

    async def report(self, shipment_id: str, status: str, event_id: str, **more: str) -> Answer:
        """What the carrier says about a parcel, signed. ``occurred_at=…`` is now unless given."""
        now = datetime.now(UTC).isoformat()
        body = {"event_id": event_id, "status": status, "occurred_at": now, **more}
        return await self.anonymous(
            "POST", f"/api/shipping/{shipment_id}/events", **self.signed(body)
        )

    def signed(self, body: Any, **headers: str) -> dict[str, Any]:
        """Body and headers of a request of the carrier's."""
        raw = orjson.dumps(body)
        signature = sign(raw, self.settings.carrier_secret, int(self.shop.clock.now()))
        kind = "application/json"
        return {"raw": raw, "Content_Type": kind, "Carrier_Signature": signature, **headers}

    async def delivered(self, order_id: str) -> None:
        """Confirmed, then carried to its customer by one report."""
        await self.reached(order_id, "confirmed")
        assert (await self.report(order_id, "delivered", f"{order_id}/there")).status == 202
        await self.ended(order_id)

    async def ended(self, order_id: str) -> Any:
        """The saga once it has ended and everybody has heard of it."""
        saga = await until(
            lambda: self.staff("GET", f"/api/sagas/{order_id}"),
            lambda answer: answer.status == 200 and answer.body["finished_at"] is not None,
        )
        await self.reached(order_id, "delivered", "cancelled")
        return saga.body

    async def refunded(self, payment_id: str, body: Any) -> Any:
        """The payment after a refund; it may hear a moment later than others that it may."""
        path = f"/api/payments/{payment_id}/refund"
        answer = await until(
            lambda: self.staff("POST", path, body),
            lambda found: found.status != 409 or found.code != "saga_running",
        )
        assert answer.status == 200, answer.raw
        return answer.body

    async def reached(self, order_id: str, *statuses: str) -> Any:
        """The order once it has one of these statuses."""
        found = await until(
            lambda: self.staff("GET", f"/api/orders/{order_id}"),
            lambda answer: answer.status == 200 and answer.body["status"] in statuses,
        )
        return found.body


def order(
    sku: str = "LAMP-01",
    quantity: int = 1,
    token: str = "tok_ok",
    postal_code: str = "12345",
    **changes: Any,
) -> dict[str, Any]:
    """The body of an order for one product."""
    return {
        "lines": [{"sku": sku, "quantity": quantity}],
        "payment": {"method": "card", "token": token},
        "shipping_address": {**ADDRESS, "postal_code": postal_code},
        **changes,
    }


def product(sku: str, amount: int = 500, **changes: Any) -> dict[str, Any]:
    """The body of a new product."""
    return {
        "sku": sku,
        "name": "A thing",
        "description": "It is what it is.",
        "category": "things",
        "price": {"amount": amount, "currency": "USD"},
        **changes,
    }


async def until(ask: Callable[[], Awaitable[T]], is_so: Callable[[T], bool]) -> T:
    """Ask again and again until it is so; fails with the last answer."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SOON_S
    while not is_so(found := await ask()):
        assert loop.time() < deadline, f"still not so: {found}"
        await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def open_shop(
    folder: Path, *, carrier_step_s: float, **settings: Any
) -> AsyncIterator[OpenShop]:
    """A shop with the demo seed, ready for orders, and its users signed in."""
    async with AsyncExitStack() as stack:
        shop = await _started(folder, carrier_step_s, **settings)
        stack.push_async_callback(_closed, shop)
        await shop.wait_ready()
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
        )
        opened = OpenShop(shop, await stack.enter_async_context(session))
        await opened.admit()
        yield opened


async def _closed(shop: Shop) -> None:
    runners = [host.runner for host in shop.hosts.values()]
    if shop.tracker is not None:
        runners += shop.tracker.runners
    dead = [runner.participant.name for runner in runners if runner.failed.done()]
    await shop.stop()
    assert not dead, f"died at work: {dead}"


async def _started(folder: Path, carrier_step_s: float, **others: Any) -> Shop:
    for _ in range(20):
        settings = ShopSettings(
            data_dir=folder,
            port_base=free_ports(),
            carrier_step_s=carrier_step_s,
            seed="demo",
            **others,
        )
        shop = Shop(settings)
        try:
            await shop.start()
        except OSError:  # somebody took one of the ports between the probe and now
            await shop.stop()
            continue
        return shop
    raise AssertionError("no ports were free")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenShop]:
    """A shop whose parcels move fast."""
    async with open_shop(tmp_path_factory.mktemp("shop"), carrier_step_s=0.05) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def slow_shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenShop]:
    """A shop whose carrier does nothing by itself: parcels move when a report says so."""
    async with open_shop(tmp_path_factory.mktemp("slow-shop"), carrier_step_s=3_600) as opened:
        yield opened
