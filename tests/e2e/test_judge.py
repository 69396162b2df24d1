"""Whoever judges the shop after a storm has to find what is wrong: shops with a flaw, books with a
figure changed, servers on which something was left."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aio_pika
import pytest
import pytest_asyncio
from aiohttp import ClientSession
from pymongo import AsyncMongoClient

from tests.e2e.kill.books import (
    Books,
    Stock,
    charges_in_file,
    left_behind,
    read_books,
    read_stock,
)
from tests.e2e.kill.broken import FLAWS
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.judge import at_rest
from tests.e2e.kill.process import ShopProcess
from tests.e2e.kill.servers import Documents, Queues
from tests.e2e.kill.wishes import LOST, PLAIN, REFUSED, Wish
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import connected, own_namespace

#: Far more than the orders take: some three seconds.
ENDED_WITHIN_S = 120.0
#: What a flaw holds up never ends: it has to be waited for as long.
HELD_UP_S = 6.0

PLACED = (
    Wish("plain", "", {"LAMP-01": 1, "MUG-01": 2}, "tok_ok", PLAIN, None, False),
    Wish("unanswered", "", {"LAMP-01": 1}, "tok_timeout", PLAIN, None, False),
    Wish("refused", "", {"MUG-01": 1}, "tok_ok", REFUSED, None, False),
    Wish("lost", "", {"LAMP-01": 1}, "tok_ok", LOST, None, False),
)


async def _judged(folder: Path, within_s: float, *program: str) -> tuple[Books, Stock, list[str]]:
    """What is found of such a shop after these orders: its books, its stock before, its faults."""
    async with ShopProcess(folder, program=program) as shop, ClientSession() as session:
        await shop.start()
        await shop.ready()
        customer, staff = (Client(session, shop.url, who) for who in (CUSTOMER, STAFF))
        before = await read_stock(staff)
        for wish in PLACED:
            answer = await customer.insist("POST", "/api/orders", wish.body, key=wish.key)
            assert answer.status == 202, answer.body

        async def left() -> list[str]:
            return left_behind(shop.file)

        faults = await at_rest(staff, left, within_s)
        books = await read_books(staff, charges_in_file(shop.file))
        return books, before, [fault.text for fault in (*faults, *books.audit(before))]


@pytest.mark.parametrize(
    ("flaw", "within_s", "found"),
    [
        ("a refund is dropped", ENDED_WITHIN_S, "0 was kept, 1250 by the provider's ledger, 0 is"),
        ("money is taken twice", ENDED_WITHIN_S, "the provider knows it, but there is no such"),
        ("stock is not put back", ENDED_WITHIN_S, "MUG-01: 100000 on hand, 2 sent away, now 99998"),
        ("an event is lost", HELD_UP_S, "has not ended in time"),
    ],
)
async def test_a_flaw_of_the_shop_is_found(
    tmp_path: Path, flaw: str, within_s: float, found: str
) -> None:
    assert flaw in FLAWS
    _, _, faults = await _judged(tmp_path, within_s, "tests.e2e.kill.broken", flaw)
    assert any(found in fault for fault in faults), faults


# ----------------------------------------------------------------------- books, one figure changed


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Books, Stock]:
    folder = tmp_path_factory.mktemp("sound")
    books, before, faults = await _judged(folder, ENDED_WITHIN_S, "shop")
    assert faults == []
    return books, before


def order_of(books: Books, key: str) -> str:
    return next(order_id for order_id, order in books.orders.items() if order["key"] == key)


Change = Callable[[Books, str, str], object]  # the plain order's id, and the refused one's

CHANGES: dict[str, tuple[Change, str]] = {
    "an order hangs": (
        lambda b, plain, _: b.orders[plain].update(status="paid"),
        "the order is paid, its saga completed",
    ),
    "it ended twice": (
        lambda b, plain, _: b.orders[plain]["history"].append("cancelled"),
        "with the history",
    ),
    "one key, two orders": (
        lambda b, plain, refused: b.orders[refused].update(key="plain"),
        "plain was placed 2 times",
    ),
    "the tracker knows nothing": (
        lambda b, plain, _: b.sagas.pop(plain),
        "the tracker does not know it",
    ),
    "the tracker knows too much": (
        lambda b, plain, _: b.sagas.update(nobodys=b.sagas[plain]),
        "the tracker knows it, but there is no such order",
    ),
    "the tracker sees the wrong end": (
        lambda b, plain, _: b.sagas[plain].update(status="compensated"),
        "the order is delivered, its saga compensated",
    ),
    "the tracker missed an event": (
        lambda b, plain, refused: b.sagas[refused]["steps"].update(take_payment="done"),
        "take_payment is done in the saga's view",
    ),
    "a violation": (
        lambda b, plain, _: b.sagas[plain]["violations"].append("late"),
        "has violations",
    ),
    "a second charge": (
        lambda b, plain, _: b.charges[plain].update(charges=2),
        "2 times by the provider's own ledger",
    ),
    "a charge for nobody": (
        lambda b, plain, _: b.charges.update(nobodys=b.charges[plain]),
        "the provider knows it, but there is no such order",
    ),
    "a wrong amount": (
        lambda b, plain, _: b.charges[plain].update(amount=1),
        "charged 1 for a total of",
    ),
    "a refund that never was": (
        lambda b, plain, refused: b.charges[refused].update(left=1250),
        "0 was kept, 1250 by the provider's ledger, 0 is due",
    ),
    "money back, goods sent": (
        lambda b, plain, _: b.payments[plain][0].update(status="refunded", refunded=4499),
        "delivered, with payments ['refunded']",
    ),
    "two payments": (
        lambda b, plain, _: b.payments[plain].append(b.payments[plain][0]),
        "2 payments",
    ),
    "two parcels": (
        lambda b, plain, _: b.parcels[plain].append("delivered"),
        "2 shipments",
    ),
    "sent and cancelled": (
        lambda b, plain, refused: b.parcels.update({refused: ["delivered"]}),
        "cancelled, with shipments ['delivered']",
    ),
    "an item gone": (
        lambda b, plain, _: b.stock.update({"LAMP-01": (b.stock["LAMP-01"][0] - 1, 0)}),
        "LAMP-01: 100000 on hand",
    ),
    "a hold that stays": (
        lambda b, plain, _: b.stock.update({"MUG-01": (b.stock["MUG-01"][0], 1)}),
        "and 1 reserved",
    ),
    "a stale projection": (
        lambda b, plain, _: b.available.update({"LAMP-01": 7}),
        "LAMP-01: product shows 7 available",
    ),
    "a dead letter": (
        lambda b, plain, _: b.dead_letters.append({"saga_id": plain}),
        "an open dead letter",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.asyncio(loop_scope="module")
async def test_one_figure_changed_is_found(sound: tuple[Books, Stock], change: str) -> None:
    books, before = copy.deepcopy(sound)
    alter, found = CHANGES[change]
    alter(books, order_of(books, "plain"), order_of(books, "refused"))
    faults = [fault.text for fault in books.audit(before)]
    assert any(found in fault for fault in faults), faults


# ------------------------------------------------------------------------ what is left on servers


@pytest_asyncio.fixture
async def store_url() -> AsyncIterator[str]:
    async with own_databases() as url:
        yield url


@pytest.mark.parametrize(
    ("collection", "document", "found"),
    [
        ("orders", {"_outbox": [{"id": "m1"}]}, "payment/orders/o1 has events in its outbox"),
        ("orders", {"_due": time.time() - 60}, "payment/orders/o1 has a timer overdue"),
        ("strays", {}, "payment/strays/o1 is a stray"),
        ("orders", {"_body": b'{"held":[]}'}, "payment/orders/o1 has held"),
        ("orders", {"_body": b'{"attention":{}}'}, "payment/orders/o1 has attention"),
        ("orders", {"_due": time.time() + 600}, None),
    ],
)
async def test_what_is_left_in_a_document_is_found(
    store_url: str, collection: str, document: dict[str, object], found: str | None
) -> None:
    server, _, prefix = store_url.partition("?")[0].rpartition("/")
    async with AsyncMongoClient(server) as client:
        database = client[f"{prefix}_payment"]
        await database[collection].insert_one({"_id": "o1", "_body": b"{}", **document})
    documents = Documents(store_url)
    faults = [*await documents.left(), *await documents.trouble()]
    assert [fault.replace(f"{prefix}_", "").replace(".", "/") for fault in faults] == (
        [found] if found else []
    )


async def test_a_message_that_lies_in_a_queue_is_found() -> None:
    async with own_namespace(["payment"]) as url, connected() as channel:
        name = f"{url.query['namespace']}.payment"
        for queue in (name, *(f"{url.query['namespace']}.{net}" for net in ("dead", "lost"))):
            await channel.declare_queue(queue)
        queues = Queues(url, ["payment"])
        assert await queues.left() == []
        await channel.default_exchange.publish(aio_pika.Message(b"{}"), name)
        assert await queues.left() == [f"queue {name} has 1 messages"]
