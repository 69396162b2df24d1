"""A thousand buyers at once for a hundred units: a hundred get one, everybody else their money."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from participants.inventory.ledger import AdjustStock, HoldStock, SeedStock, stock
from sagas import CommandRefused
from sagas.brokers.embedded import EmbeddedBroker
from sagas.testing.unruly import UnrulyBroker
from tests.scenarios.world import PRICE, open_world

BUYERS, UNITS = 1_000, 100


@pytest.mark.parametrize("repeat", range(10))
async def test_never_more_is_sold_than_there_is(repeat: int) -> None:
    # Every other time messages also come late and in any order.
    unruly = UnrulyBroker(EmbeddedBroker(), seed=repeat, copies=1, longest_delay_s=2.0)
    broker = (lambda world: unruly) if repeat % 2 else None
    async with open_world(seed=repeat, broker=broker, carrier_step_s=36_000) as world:
        await world.harness.execute("inventory", "HOT-01", SeedStock(on_hand=UNITS), stock)
        order_ids = await asyncio.gather(
            *(world.place(sku="HOT-01", quantity=1, deadline_s=10**6) for _ in range(BUYERS))
        )
        await world.harness.quiet(10.0)
        world.harness.check()

        orders = [await world.order(order_id) for order_id in order_ids]
        assert Counter(order.status for order in orders) == {
            "confirmed": UNITS,
            "cancelled": BUYERS - UNITS,
        }
        for order in orders:
            payment = await world.payment(order.order_id)
            assert payment is not None
            if order.status == "cancelled":
                assert order.cancellation is not None
                assert order.cancellation.code == "insufficient_stock"
                assert payment.left == 0
            else:
                assert payment.left == PRICE
        assert await world.stock("HOT-01") == (UNITS, UNITS)
        assert await world.money_kept() == UNITS * PRICE


async def test_a_hold_that_comes_after_its_rejection_is_refused() -> None:
    """An instance stalled behind its inbox check, another one found too little: so it stays."""
    async with open_world() as world:
        await world.harness.execute("inventory", "HOT-01", SeedStock(on_hand=1), stock)
        order_id = await world.place(sku="HOT-01", quantity=2)
        await world.harness.quiet(10.0)
        assert (await world.order(order_id)).status == "cancelled"

        more = AdjustStock(operation="restocked", delta=5)
        await world.harness.execute("inventory", "HOT-01", more, stock)
        late = HoldStock(order_id=order_id, quantity=2)
        with pytest.raises(CommandRefused, match="not enough"):
            await world.harness.execute("inventory", "HOT-01", late, stock)
        assert await world.stock("HOT-01") == (6, 0)
