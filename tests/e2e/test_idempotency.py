"""``Idempotency-Key`` through the gateway: the same request twice is one request."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from contracts.api.products import CreateProduct as ProductContent
from participants.order.api import SERVICE
from participants.order.projections import catalogue
from participants.order.steps import order as order_participant
from participants.product.steps import CreateProduct, product
from participants.service import ServiceContext
from participants.settings import ShopSettings
from sagas import Query, Runner, StoreUnavailable
from sagas.brokers.embedded import EmbeddedBroker
from sagas.intake import topics_of
from sagas.ports import Outcome, Write
from sagas.system import SystemIds
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import VirtualClock
from sagas.web.app import WebSettings, make_app, serve
from sagas.web.auth import Principal, Tokens
from sagas.web.idempotency import Idempotency
from tests.e2e.conftest import ADDRESS, PASSWORD, Answer, Caller, OpenShop, order, until
from tests.e2e.conftest import product as product_body

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKOUT = {"payment": {"method": "card", "token": "tok_ok"}, "shipping_address": ADDRESS}
#: Fewer than an anonymous address may send at once.
SOME = 50


async def at_once(count: int, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """Ask so often at the same time; the one answer that all of them are."""
    answers = await asyncio.gather(*(ask() for _ in range(count)))
    assert len({(answer.status, answer.raw) for answer in answers}) == 1, Counter(
        answer.status for answer in answers
    )
    assert sum(answer.is_replayed for answer in answers) == count - 1
    (first,) = (answer for answer in answers if not answer.is_replayed)
    for name in ("Location", "ETag"):
        assert {answer.headers.get(name) for answer in answers} == {first.headers.get(name)}
    return first


async def orders_of(caller: Caller) -> list[str]:
    answer = await caller("GET", "/api/orders?limit=100")
    assert answer.body["next_cursor"] is None
    return [each["order_id"] for each in answer.body["items"]]


# ------------------------------------------------------------------------------- many at once


async def test_two_hundred_orders_at_once_are_one(shop: OpenShop) -> None:
    buyer = await shop.registered("two-hundred@example.com")
    body = order(sku="MUG-01", quantity=3)
    made = await at_once(200, lambda: buyer("POST", "/api/orders", body, Idempotency_Key="200"))
    assert made.status == 202
    assert await orders_of(buyer) == [made.body["order_id"]]
    await shop.reached(made.body["order_id"], "delivered")
    payments = await buyer("GET", f"/api/payments?order_id={made.body['order_id']}")
    assert [each["charges"] for each in payments.body["items"]] == [1]
    again = await buyer("POST", "/api/orders", body, Idempotency_Key="200")
    assert (again.raw, again.is_replayed) == (made.raw, True)


async def test_many_registrations_at_once_are_one(shop: OpenShop) -> None:
    body = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}

    def register() -> Awaitable[Answer]:
        return shop.anonymous("POST", "/api/customers", body, Idempotency_Key="register")

    made = await at_once(SOME, register)
    assert made.status == 201
    later = await register()
    assert (later.status, later.body, later.is_replayed) == (201, made.body, True)
    assert later.headers["Location"] == made.headers["Location"]
    listed = (await shop.staff("GET", "/api/customers?limit=100")).body["items"]
    assert [each["email"] for each in listed].count("ada@example.com") == 1
    without = await shop.anonymous("POST", "/api/customers", body)
    assert (without.status, without.code) == (409, "email_taken")


@pytest.mark.parametrize("port", [0, 2], ids=["at the gateway", "at the service"])
async def test_orders_cut_off_by_their_callers_deadline_are_one_each(
    shop: OpenShop, port: int
) -> None:
    buyer = await shop.registered(f"cut-off-{port}@example.com")
    path = f"http://127.0.0.1:{shop.settings.port_base + port}/api/orders"
    made, cut_off = set(), 0
    for ms in (0, 1, 2, 3, 4, 6, 8, 12, 1_000):
        key = f"cut off after {ms}".replace(" ", "-")
        time = {"X-Request-Timeout-Ms": str(ms)}
        cut = await buyer("POST", path, order(sku="MUG-01"), Idempotency_Key=key, **time)
        if cut.status == 504:
            assert cut.code == "upstream_timeout"
            cut_off += 1
        whole = await buyer("POST", path, order(sku="MUG-01"), Idempotency_Key=key)
        assert whole.status == 202, whole.raw
        made.add(whole.body["order_id"])
    assert cut_off
    assert sorted(await orders_of(buyer)) == sorted(made)


async def test_many_checkouts_at_once_are_one(shop: OpenShop) -> None:
    buyer = await shop.registered("checkout@example.com")
    await buyer("PUT", "/api/carts/me/items/PEN-01", {"quantity": 2})
    path = "/api/carts/me/checkout"
    made = await at_once(SOME, lambda: buyer("POST", path, CHECKOUT, Idempotency_Key="checkout"))
    assert made.status == 202
    assert await orders_of(buyer) == [made.body["order_id"]]
    assert (await buyer("GET", "/api/carts/me")).body["items"] == []


async def test_a_checkout_repeated_later_leaves_what_is_in_the_cart_by_then(
    shop: OpenShop,
) -> None:
    buyer = await shop.registered("later@example.com")
    path, wait = "/api/carts/me/checkout", {"Prefer": "wait=10"}
    await buyer("PUT", "/api/carts/me/items/LAMP-01", {"quantity": 1})
    first = await buyer("POST", path, CHECKOUT, Idempotency_Key="once", **wait)
    await buyer("PUT", "/api/carts/me/items/MUG-01", {"quantity": 3})
    again = await buyer("POST", path, CHECKOUT, Idempotency_Key="once", **wait)
    assert again.body["order_id"] == first.body["order_id"]
    assert again.is_replayed
    cart = (await buyer("GET", "/api/carts/me")).body
    assert cart["items"] == [{"sku": "MUG-01", "quantity": 3}]


async def test_checkouts_at_once_without_a_key_are_one_too(shop: OpenShop) -> None:
    """Each fixes the cart's content under an id of its own; the first id stands."""
    buyer = await shop.registered("no-key@example.com")
    await buyer("PUT", "/api/carts/me/items/PEN-01", {"quantity": 2})
    answers = await asyncio.gather(
        *(buyer("POST", "/api/carts/me/checkout", CHECKOUT) for _ in range(20))
    )
    assert {answer.status for answer in answers} == {202}
    assert {answer.body["order_id"] for answer in answers} == set(await orders_of(buyer))
    assert len(await orders_of(buyer)) == 1


async def test_many_refunds_at_once_are_one(shop: OpenShop) -> None:
    placed = await shop.placed(quantity=2)
    await shop.reached(placed, "delivered")
    body = {"amount": {"amount": 500, "currency": "USD"}, "reason": "a scratch"}
    path = f"/api/payments/{placed}/refund"
    first = await shop.refunded(placed, body)  # now payment knows that the saga is over
    assert first["refunded"]["amount"] == 500
    made = await at_once(SOME, lambda: shop.staff("POST", path, body, Idempotency_Key="refund"))
    assert (made.status, made.body["refunded"]["amount"]) == (200, 1_000)
    assert (await shop.staff("GET", f"/api/payments/{placed}")).body == made.body


async def test_many_adjustments_at_once_are_one(shop: OpenShop) -> None:
    path, body = "/api/inventory/POT-01/adjustments", {"delta": 7, "reason": "found behind a shelf"}
    before = (await shop.staff("GET", "/api/inventory/POT-01")).body["on_hand"]
    made = await at_once(SOME, lambda: shop.staff("POST", path, body, Idempotency_Key="adjust"))
    assert (made.status, made.body["on_hand"]) == (200, before + 7)
    assert (await shop.staff("GET", "/api/inventory/POT-01")).body["on_hand"] == before + 7


async def test_many_cancellations_at_once_are_one(slow_shop: OpenShop) -> None:
    placed = await slow_shop.placed()
    path, body = f"/api/orders/{placed}/cancel", {"reason": "changed my mind"}
    made = await at_once(
        SOME, lambda: slow_shop.customer("POST", path, body, Idempotency_Key="cancel")
    )
    assert made.status == 202
    saga = await slow_shop.ended(placed)
    asked = [event for event in saga["events"] if event["type"] == "CancellationRequested"]
    assert len(asked) == 1


# ------------------------------------------------------------------------ what a key stands for


async def test_another_body_under_the_key_is_refused(shop: OpenShop) -> None:
    key = {"Idempotency_Key": "another-body"}
    await shop.customer("POST", "/api/orders", order(), **key)
    answer = await shop.customer("POST", "/api/orders", order(quantity=2), **key)
    assert (answer.status, answer.code) == (422, "idempotency_key_reused")


async def test_a_refused_request_may_be_repeated_with_its_key(shop: OpenShop) -> None:
    key, path = {"Idempotency_Key": "refused"}, "/api/inventory/GONE-01/adjustments"
    taken = {"delta": -1, "reason": "one was stolen"}
    for _ in range(2):
        refused = await shop.staff("POST", path, taken, **key)
        assert (refused.status, refused.code) == (409, "insufficient_stock")
        assert not refused.is_replayed
    corrected = await shop.staff("POST", path, {"delta": 1, "reason": "one was found"}, **key)
    assert (corrected.status, corrected.is_replayed) == (200, False)


async def test_a_key_belongs_to_its_caller_and_its_route(shop: OpenShop) -> None:
    key = {"Idempotency_Key": "everybody's"}
    await shop.other("PUT", "/api/carts/me/items/PEN-01", {"quantity": 1})
    answers = [
        await shop.customer("POST", "/api/orders", order(), **key),
        await shop.other("POST", "/api/orders", order(), **key),
        await shop.other("POST", "/api/carts/me/checkout", CHECKOUT, **key),
    ]
    assert [answer.status for answer in answers] == [202, 202, 202]
    assert not any(answer.is_replayed for answer in answers)
    assert len({answer.body["order_id"] for answer in answers}) == 3


async def test_a_key_means_nothing_when_signing_in(shop: OpenShop) -> None:
    body = {"email": "other@example.com", "password": PASSWORD}
    sessions = [
        await shop.anonymous("POST", "/api/sessions", body, Idempotency_Key="session")
        for _ in range(2)
    ]
    assert [session.status for session in sessions] == [200, 200]
    assert not any(session.is_replayed for session in sessions)
    assert len({session.body["refresh_token"] for session in sessions}) == 2


async def test_a_refresh_is_repeated_without_its_answer_being_kept(shop: OpenShop) -> None:
    body = {"email": "other@example.com", "password": PASSWORD}
    token = (await shop.anonymous("POST", "/api/sessions", body)).body["refresh_token"]

    def refresh() -> Awaitable[Answer]:
        body = {"refresh_token": token}
        return shop.anonymous("POST", "/api/sessions/refresh", body, Idempotency_Key="refresh")

    first, again = await refresh(), await refresh()
    assert (first.status, first.is_replayed) == (200, False)
    assert (again.status, again.is_replayed) == (200, True)
    assert again.body["refresh_token"] == first.body["refresh_token"] != token
    body = {"refresh_token": again.body["refresh_token"]}
    assert (await shop.anonymous("POST", "/api/sessions/refresh", body)).status == 200


async def test_no_secret_is_written_down(shop: OpenShop) -> None:
    """Neither a body nor an answer: whoever reads the disk can sign in as nobody."""
    password = "written on no disk"
    body = {"name": "Mallory", "email": "mallory@example.com", "password": password}
    made = await shop.anonymous("POST", "/api/customers", body, Idempotency_Key="disk")
    sign_in = {"email": "mallory@example.com", "password": password}
    session = (await shop.anonymous("POST", "/api/sessions", sign_in)).body
    renewed = await shop.anonymous(
        "POST",
        "/api/sessions/refresh",
        {"refresh_token": session["refresh_token"]},
        Idempotency_Key="disk",
    )
    assert (made.status, renewed.status) == (201, 200)
    secrets = [password, *_secrets(session), *_secrets(renewed.body)]
    written = _everything_in(shop.settings.data_dir)
    assert made.body["customer_id"].encode() in written  # it is the right folder
    assert [secret for secret in secrets if secret.encode() in written] == []


def _secrets(session: dict[str, Any]) -> list[str]:
    return [session["access_token"], session["refresh_token"].partition(".")[2]]


def _everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


# ------------------------------------------------------------------------------------- a crash


class DyingStore:
    """A store whose process dies at its first commit to one collection: just before, or after."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.dies_before = self.dies_after = ""
        self.died = asyncio.Event()
        self.last_writes: Sequence[Write] = ()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def call(*arguments: Any) -> Any:
            if self.died.is_set():
                raise StoreUnavailable("this process is dead")
            return await method(*arguments)

        return call

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        written = {write.collection for write in writes}
        if self.dies_before in written:
            self.last_writes = writes
            self.died.set()
        if self.died.is_set():
            raise StoreUnavailable("this process is dead")
        outcomes: list[Outcome] = await self._store.commit(writes)
        if self.dies_after in written:
            self.last_writes = writes
            self.died.set()
        return outcomes


class Village:
    """The order service alone, and a product to order. It can die and start again."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._database = MemoryDatabase()
        self.clock, self._ids = VirtualClock(), SystemIds()
        self.tokens = Tokens("a secret of at least thirty-two characters", self.clock)
        self._session = aiohttp.ClientSession()

    async def open(self) -> None:
        await self._stack.enter_async_context(self._session)

    async def start(self) -> tuple[Caller, DyingStore, Runner]:
        """A new process on what the last one stored; somebody who may order there."""
        store = DyingStore(self._database.store("order"))
        broker = EmbeddedBroker()
        self._stack.push_async_callback(broker.close)
        participants = (product, order_participant)
        await broker.open({each.name: topics_of(each) for each in participants})
        shelf, runner = (
            Runner(
                each,
                store=store if each is order_participant else self._database.store("product"),
                broker=broker,
                clock=self.clock,
                ids=self._ids,
            )
            for each in participants
        )
        for each in (shelf, runner):
            await each.start()
            self._stack.push_async_callback(each.kill)
        await store.open([Idempotency.COLLECTION])
        content = ProductContent.model_validate(product_body("LAMP-01"))
        create = CreateProduct(content=content, operation_id="the-village")
        await shelf.execute(product.saga, "LAMP-01", create)
        await until(
            lambda: runner.cached(catalogue, ["LAMP-01"], 0.0), lambda found: "LAMP-01" in found
        )
        return await self._serve(runner, store), store, runner

    async def _serve(self, runner: Runner, store: DyingStore) -> Caller:
        context = ServiceContext(
            runner=runner,
            settings=ShopSettings(),
            clock=self.clock,
            ids=self._ids,
            tokens=self.tokens,
            idempotent=Idempotency(store, self.clock, self._ids, secret="the village's"),
        )
        settings = WebSettings(statuses=SERVICE.statuses or {}, cancel_on_disconnect=True)
        app = make_app(self._ids, tokens=self.tokens, settings=settings)
        app.add_routes(SERVICE.routes(context))
        server = await serve(app, "127.0.0.1", 0)
        self._stack.push_async_callback(server.stop, 0.2)
        token = self.tokens.issue(Principal("ada", "customer"))
        return Caller(self._session, f"http://127.0.0.1:{server.port}", token)


@pytest_asyncio.fixture(loop_scope="module")
async def village() -> AsyncIterator[Village]:
    async with AsyncExitStack() as stack:
        village = Village(stack)
        await village.open()
        yield village


@pytest.mark.parametrize("moment", ["the order is not stored yet", "the order is stored"])
async def test_a_crash_amid_a_request_does_not_double_its_order(
    village: Village, moment: str
) -> None:
    ada, store, runner = await village.start()

    def place() -> Awaitable[Answer]:
        return ada("POST", "/api/orders", order(), Idempotency_Key="crash")

    if moment == "the order is not stored yet":
        store.dies_before = "orders"
    else:
        store.dies_after = "orders"
    asked = asyncio.ensure_future(place())
    await store.died.wait()
    (began,) = (write.key for write in store.last_writes if write.collection == "orders")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await runner.kill()

    village.clock.skew_s += 11.0  # the dead one's lease ends
    ada, _, runner = await village.start()
    repeated = await place()
    assert repeated.status == 202
    assert repeated.body["order_id"] == began
    assert await _orders(runner) == [began]


async def _orders(runner: Runner) -> list[str]:
    return [record.key for record, _ in await runner.find(order_participant.saga, Query())]
