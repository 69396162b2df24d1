"""The shop is killed again and again under load. Nothing is lost, nothing happens twice.

``--kills N`` says how often (``make soak``: 1,000 times). ``--kill-seed`` is what the orders and
the moments of the kills are drawn from; what the shop has done by then is up to the machine.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random

import pytest
from aiohttp import ClientSession

from participants.demo import DEMO_PRODUCTS
from tests.e2e.kill.books import (
    Books,
    charges_in_file,
    left_behind,
    read_books,
    read_stock,
)
from tests.e2e.kill.client import CUSTOMER, STAFF, Client
from tests.e2e.kill.customers import Customers
from tests.e2e.kill.judge import at_rest
from tests.e2e.kill.process import ShopProcess
from tests.e2e.kill.report import report

ORDERS = 500
ORDERS_A_KILL = 40
#: Of the kills, how many come while the shop is still starting.
AMID_START = 0.25
#: After the last start. An outage of the provider alone takes some ten seconds to give up on.
ENDED_WITHIN_S = 180.0
TOLD_EVERY = 20
ASKED_AGAIN = 100


async def test_every_order_ends_well_however_often_the_shop_is_killed(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    kills: int = request.config.getoption("--kills")
    seed: str = request.config.getoption("--kill-seed")
    async with ShopProcess(tmp_path) as shop, ClientSession() as session:
        customers = Customers(Client(session, shop.url, CUSTOMER), seed)
        staff = Client(session, shop.url, STAFF)
        chance = Random(f"{seed}/kills")
        amid_seeding = min(kills // 2, 3)
        await _kill_before_it_ever_opened(shop, amid_seeding, chance)
        before = await read_stock(staff)
        assert before == {each.sku: (each.on_hand, 0) for each in DEMO_PRODUCTS}
        try:
            customers.kills = amid_seeding
            await _kill_under_load(shop, customers, kills, chance)
        except Exception as error:
            error.add_note(f"After kill {customers.kills}; {_again(kills, seed)}")
            raise
        finally:
            await customers.leave()
        assert customers.tried >= ORDERS
        await customers.ask_again(ASKED_AGAIN)

        faults = await at_rest(
            staff, partial(asyncio.to_thread, left_behind, shop.file), ENDED_WITHIN_S
        )
        books = await read_books(staff, charges_in_file(shop.file))
        faults += [*books.audit(before), *customers.broken_promises(books)]
        _tell(kills, customers, books)
        if faults:
            told = await report(faults, _again(kills, seed), customers, staff)
            pytest.fail(told, pytrace=False)
    assert not shop.complaints(), f"{_again(kills, seed)}\n{shop.complaints()[-4_000:]}"


async def _kill_before_it_ever_opened(shop: ShopProcess, kills: int, chance: Random) -> None:
    """It dies while it makes its secrets, its tables and its seed; then it is let open."""
    for _ in range(kills):
        await shop.start()
        await shop.lives(chance.uniform(0.3, 0.8))
        await shop.kill()
    await shop.start()
    await shop.ready()


async def _kill_under_load(
    shop: ShopProcess, customers: Customers, kills: int, chance: Random
) -> None:
    """Orders keep coming, also while there is no shop; each life is ended at a random moment."""
    began = time.monotonic()
    wanted = max(ORDERS, kills * ORDERS_A_KILL)
    for kill in range(customers.kills + 1, kills + 1):
        customers.come(wanted * kill // kills - customers.tried)
        if chance.random() < AMID_START:
            await shop.lives(chance.uniform(0.05, 1.0))
        else:
            await shop.ready()
            await shop.lives(chance.uniform(0.2, 1.5))
        await shop.kill()
        customers.kills = kill
        await shop.start()
        if kill % TOLD_EVERY == 0:
            took_s = time.monotonic() - began
            print(f"{kill} kills, {len(customers.placed)} orders placed, {took_s:.0f} s")
    await shop.ready()
    while customers.tried < wanted:
        customers.come(wanted - customers.tried)
        await customers.served()
    await customers.served()


# ---------------------------------------------------------------------------------- telling


def _tell(kills: int, customers: Customers, books: Books) -> None:
    ends = Counter(order["code"] or "delivered" for order in books.orders.values())
    print(
        f"{kills} kills, {len(books.orders)} orders "
        f"({len(customers.unknown)} customers gave up asking): "
        + ", ".join(f"{count} {end}" for end, count in ends.most_common())
    )


def _again(kills: int, seed: str) -> str:
    return f"again with: --kills {kills} --kill-seed {seed}"
