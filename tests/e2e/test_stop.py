"""How the shop stops, and how it says why it cannot start."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import (
    ClientConnectorError,
    ClientOSError,
    ClientSession,
    ServerDisconnectedError,
    TCPConnector,
)

from tests.e2e.apart import SERVICES
from tests.e2e.kill.books import (
    Charges,
    charges_in_file,
    left_behind,
    read_stock,
)
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.judge import judged
from tests.e2e.kill.process import ShopProcess
from tests.e2e.kill.servers import Documents, Queues
from tests.e2e.kill.wishes import Wish
from tests.mongodb.server import own_databases
from tests.rabbitmq.server import own_namespace

CLIENTS = 20
TOKENS = ("tok_ok", "tok_ok", "tok_ok", "tok_flaky", "tok_timeout", "tok_outage")
#: Answered before the signal comes, so that it comes amid the load.
WARM = 100
#: Far more than it takes: only a shop that hangs needs as long.
STOPS_WITHIN_S = 60.0
ENDED_WITHIN_S = 120.0
QUEUES = (*SERVICES, "dead-letters")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncIterator[ShopProcess]:
    async with ShopProcess(tmp_path) as shop:
        yield shop


# --------------------------------------------------------------------------------- stopping


@dataclass(slots=True)
class Heard:
    """What the clients heard, by the key of their order."""

    answers: dict[str, int] = field(default_factory=dict)
    #: Connected, but closed before there was any answer: none of these may have been accepted.
    closed: set[str] = field(default_factory=set)
    warm: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
async def test_a_stop_under_load_breaks_no_answer_and_loses_no_order(
    shop: ShopProcess, number: signal.Signals
) -> None:
    async def left() -> list[str]:
        return left_behind(shop.file)

    async def charges() -> Charges:
        return charges_in_file(shop.file)

    said = await _stopped_under_load(shop, number, left, charges)
    assert "Stopping …\n" in said


async def test_nor_does_it_when_each_service_is_a_process_on_real_servers(tmp_path: Path) -> None:
    """What was delivered and not acked goes back to its queue, and is done by the next life."""
    async with own_databases() as store_url, own_namespace(QUEUES) as broker_url:
        documents, queues = Documents(store_url), Queues(broker_url, QUEUES)

        async def left() -> list[str]:
            return [*await documents.left(), *await queues.left()]

        settings = {"store_url": store_url, "broker_url": broker_url}
        async with ShopProcess(tmp_path, **settings) as shop:
            said = await _stopped_under_load(shop, signal.SIGTERM, left, documents.charges)
            assert "Traceback" not in said
            # And at leisure: everybody acks what they have done before they go.
            code, said = await shop.end(signal.SIGTERM, STOPS_WITHIN_S)
            assert code == 0, said
            assert await queues.left() == []
            assert await documents.trouble() == []


async def _stopped_under_load(
    shop: ShopProcess,
    number: signal.Signals,
    left: Callable[[], Awaitable[list[str]]],
    charges: Callable[[], Awaitable[Charges]],
) -> str:
    """Stop it amid orders and start it again: nothing is lost. What the first life printed."""
    await shop.start()
    await shop.ready()
    heard = Heard()
    # A connection for each request: on a kept one, the client's next request and the server's
    # goodbye may cross, and no server can help that.
    async with ClientSession(connector=TCPConnector(force_close=True)) as session:
        client = Client(session, shop.url, CUSTOMER)
        staff = Client(session, shop.url, STAFF)
        before = await read_stock(staff)
        async with asyncio.TaskGroup() as clients:
            for place in range(CLIENTS):
                clients.create_task(_order_until_refused(client, place, heard))
            await heard.warm.wait()
            code, said = await shop.end(number, STOPS_WITHIN_S)
        assert code == 0, f"{said}\n{shop.complaints()}"
        assert set(heard.answers.values()) <= {200, 202}, Counter(heard.answers.values())

        await shop.start()
        await shop.ready()
        books, faults = await judged(staff, left, charges, before, ENDED_WITHIN_S)
    known = {order["key"] for order in books.orders.values()}
    assert known >= heard.answers.keys(), "an accepted order is gone"
    untold = known & heard.closed
    assert not untold, "accepted, and the client was not told"
    assert faults == []
    assert shop.complaints() == ""
    return said


async def _order_until_refused(client: Client, place: int, heard: Heard) -> None:
    """Order after order; every other customer waits for its order to be confirmed."""
    count = 0
    while True:
        count += 1
        key = f"{place}/{count}"
        # Some are amid the provider's trouble when the signal comes.
        token = TOKENS[(place + count) % len(TOKENS)]
        wish = Wish(key, token, {"LAMP-01": 1}, token, "12345", None, True)
        headers = {"Prefer": "wait=5"} if place % 2 else {}
        try:
            answer = await client.once("POST", "/api/orders", wish.body, key=key, headers=headers)
        except ClientConnectorError:
            return
        except (ServerDisconnectedError, ClientOSError):  # not ClientPayloadError: half an answer
            heard.closed.add(key)
            return
        heard.answers[key] = answer.status
        if len(heard.answers) >= WARM:
            heard.warm.set()


async def test_who_waits_for_an_order_is_answered_when_the_shop_stops(shop: ShopProcess) -> None:
    await shop.start()
    await shop.ready()
    async with ClientSession() as session, asyncio.timeout(ENDED_WITHIN_S):
        client = Client(session, shop.url, CUSTOMER)
        # Settled only once the provider is given up on, which takes some seconds.
        wish = Wish("patient", "tok_outage", {"LAMP-01": 1}, "tok_outage", "12345", None, True)
        wait = {"Prefer": "wait=30"}
        waiting = asyncio.create_task(
            client.once("POST", "/api/orders", wish.body, key=wish.key, headers=wait)
        )
        while True:
            if (await client.get("/api/orders"))["items"]:
                break
            await asyncio.sleep(0.01)  # it is another process, and can only be asked
        code, _ = await shop.end(signal.SIGTERM, STOPS_WITHIN_S)
        answer = await waiting
    assert (code, answer.status) == (0, 202)
    assert answer.body["status"] == "pending"


async def test_a_stop_while_it_still_starts_is_a_stop_all_the_same(shop: ShopProcess) -> None:
    await shop.start()
    async with asyncio.timeout(ENDED_WITHIN_S):
        # The tracker listens first. Before that there is nothing to stop but imports.
        while True:
            if await _listens(shop.port + 7):
                break
            await asyncio.sleep(0.005)  # it is another process, and can only be asked
    code, _ = await shop.end(signal.SIGTERM, STOPS_WITHIN_S)
    assert (code, shop.complaints()) == (0, "")


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


# --------------------------------------------------------------------------- failing to start


async def test_a_taken_port_is_named_in_one_line(shop: ShopProcess) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", shop.port + 3))
        taken.listen()
        await shop.start()
        code, said = await shop.outcome()
    assert code == 1
    assert said.count("\n") == 1, said
    assert str(shop.port + 3) in said
    assert "in use" in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT_BASE", "http"),
        ("PORT_BASE", "65530"),
        ("CARRIER_STEP_S", "-1"),
        ("SAGA_DEADLINE_S", "soon"),
        ("STORE_URL", "mysql://db"),
        ("BROKER_URL", "carrier-pigeon:"),
        ("JWT_SECRET", "short"),
    ],
)
async def test_a_wrong_setting_is_named_in_one_line(
    shop: ShopProcess, name: str, value: str
) -> None:
    shop.environment[f"SHOP_{name}"] = value
    await shop.start()
    code, said = await shop.outcome()
    assert code == 2
    assert said.count("\n") == 1, said
    assert f"SHOP_{name}" in said
    assert name.endswith("SECRET") or value in said


@pytest.mark.parametrize("beneath", ["a file", "a file/data"])
async def test_a_data_folder_that_cannot_be_is_named_in_one_line(
    shop: ShopProcess, tmp_path: Path, beneath: str
) -> None:
    (tmp_path / "a file").write_text("no folder")
    shop.environment["SHOP_DATA_DIR"] = str(tmp_path / beneath)
    await shop.start()
    code, said = await shop.outcome()
    assert code == 2
    assert said.count("\n") == 1, said
    assert str(tmp_path / beneath) in said


async def test_a_store_that_cannot_be_opened_is_named_in_one_line(shop: ShopProcess) -> None:
    shop.file.mkdir(parents=True)  # a folder where the file should be: not even root can open it
    await shop.start()
    code, said = await shop.outcome()
    assert code == 1
    assert said.count("\n") == 1, said
    assert str(shop.file) in said
