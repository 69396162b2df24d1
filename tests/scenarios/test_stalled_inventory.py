"""Two instances of inventory: one stalls behind its inbox check, the other goes on without it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.events.order import OrderLine
from contracts.events.payment import PaymentTaken
from contracts.events.shipping import ParcelDispatched, ShipmentRejected
from contracts.values import Address, Money
from participants.inventory.domain import RELEASED_HORIZON_S
from participants.inventory.ledger import SeedStock, StockLedger, StoredLedger, stock
from participants.inventory.reconciliation import free_leaked_holds
from participants.inventory.steps import inventory
from sagas import Message, Runner
from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import event_type
from sagas.intake import topics_of
from sagas.ports import Collection, Outcome, Query, Record, Store, Write
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import SeededIds, VirtualClock

ON_HAND = 10
PRICE = Money(amount=500, currency="USD")
ADDRESS = Address(line1="1 Main St", city="Springfield", postal_code="12345", country="US")


class StoppableStore:
    """A store whose process can be stopped just before, or for good just after, it writes stock."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.going = asyncio.Event()
        self.going.set()
        self.dies_after = False
        self.reached = asyncio.Event()
        #: Happens once, right after the next look at lists.
        self.meanwhile: Callable[[], Awaitable[None]] | None = None

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if any(write.collection == stock.name for write in writes):
            self.reached.set()
            await self.going.wait()
            outcomes = await self._inner.commit(writes)
            if self.dies_after and Outcome.DONE in outcomes:
                await asyncio.Event().wait()
            return outcomes
        return await self._inner.commit(writes)

    async def open(self, collections: Sequence[Collection]) -> None:
        await self._inner.open(collections)

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        return await self._inner.load(collection, keys)

    async def query(self, collection: str, query: Query) -> list[Record]:
        found = await self._inner.query(collection, query)
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Instance:
    """One process of inventory, with its own connection to the broker."""

    def __init__(self, database: MemoryDatabase, clock: VirtualClock, seed: int) -> None:
        self.store = StoppableStore(database.store("inventory"))
        self.broker = EmbeddedBroker()
        self.runner = Runner(
            inventory,
            store=self.store,  # type: ignore[arg-type]
            broker=self.broker,
            clock=clock,
            ids=SeededIds(seed, clock),
            resources=lambda runner: {StockLedger: StoredLedger(runner)},
        )

    async def start(self) -> None:
        await self.broker.open({"inventory": topics_of(inventory)})
        await self.runner.start()

    async def hears(self, event: BaseModel, id: str) -> None:
        """Deliver it, and return when it is acked."""
        message = Message(
            id=id,
            type=event_type(type(event)),
            source="/test",
            subject="o1",
            saga_id=id.split()[0],
            time=0.0,
            data=event.model_dump_json().encode(),
        )
        await self.broker.publish([message])


class Inventories:
    """``stalling`` has taken the order's payment and is stopped before it holds the goods."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        database = MemoryDatabase()
        self.stalling = Instance(database, self.clock, 1)
        self.other = Instance(database, self.clock, 2)
        self._delivery: asyncio.Task[None] | None = None

    async def level(self) -> tuple[int, int]:
        """On hand, reserved."""
        item = await self.other.runner.get(stock, "LAMP-01")
        return item.on_hand, item.reserved

    async def begin(self) -> None:
        for each in (self.stalling, self.other):
            await each.start()
        await self.other.runner.execute(stock, "LAMP-01", SeedStock(on_hand=ON_HAND))
        self.stalling.store.going.clear()
        self._delivery = asyncio.create_task(self.stalling.hears(paid("o1"), "o1 paid"))
        await self.stalling.store.reached.wait()
        # The broker takes the stalled one for dead, and gives its message to the other one.
        await self.other.hears(paid("o1"), "o1 paid")
        assert await self.level() == (ON_HAND, 2)

    async def wake_after(self, seconds: float) -> None:
        await self.clock.sleep(seconds)
        # Other orders come and go meanwhile, and what is out of date is forgotten.
        await self.other.hears(paid("o2"), "o2 paid")
        await self.other.hears(rejected("o2"), "o2 rejected")
        self.stalling.store.going.set()
        await self.clock.sleep(120.0)

    async def end(self) -> None:
        for each in (self.stalling, self.other):
            await each.runner.kill()
            await each.broker.close()
        if self._delivery is not None:
            self._delivery.cancel()
            await asyncio.gather(self._delivery, return_exceptions=True)


def paid(order_id: str) -> PaymentTaken:
    line = OrderLine(sku="LAMP-01", name="Lamp", quantity=2, unit_price=PRICE)
    return PaymentTaken(
        order_id=order_id,
        customer_id="c1",
        payment_id=order_id,
        amount=PRICE,
        lines=(line,),
        shipping_address=ADDRESS,
    )


def rejected(order_id: str) -> ShipmentRejected:
    return ShipmentRejected(order_id=order_id, code="undeliverable_address", detail="Nowhere.")


def dispatched(order_id: str) -> ParcelDispatched:
    return ParcelDispatched(order_id=order_id, shipment_id=order_id, tracking_number="T1")


@asynccontextmanager
async def stalled() -> AsyncIterator[Inventories]:
    world = Inventories()
    try:
        await world.begin()
        yield world
    finally:
        await world.end()


SOON, LATE = RELEASED_HORIZON_S / 6, RELEASED_HORIZON_S * 2


@pytest.mark.parametrize("after_s", [SOON, LATE])
async def test_one_that_wakes_after_the_release_leaks_no_hold(after_s: float) -> None:
    async with stalled() as world:
        await world.other.hears(rejected("o1"), "o1 rejected")
        assert await world.level() == (ON_HAND, 0)
        await world.wake_after(after_s)
        assert await world.level() == (ON_HAND, 0)


async def test_one_that_wakes_after_the_goods_have_left_leaks_no_hold() -> None:
    async with stalled() as world:
        await world.other.hears(dispatched("o1"), "o1 dispatched")
        assert await world.level() == (ON_HAND - 2, 0)
        await world.wake_after(SOON)
        assert await world.level() == (ON_HAND - 2, 0)


@pytest.mark.parametrize("end", ["rejected", "dispatched"])
async def test_what_leaks_beyond_the_horizon_is_found_and_freed(end: str) -> None:
    """It slept longer than anything is remembered, held the goods, and died of it."""
    async with stalled() as world:
        event = rejected("o1") if end == "rejected" else dispatched("o1")
        left = ON_HAND if end == "rejected" else ON_HAND - 2
        await world.other.hears(event, f"o1 {end}")
        world.stalling.store.dies_after = True
        await world.wake_after(LATE)
        assert await world.level() == (left, 2)  # leaked
        assert await free_leaked_holds(world.other.runner) == 1
        assert await world.level() == (left, 0)
        assert await free_leaked_holds(world.other.runner) == 0


async def test_goods_that_leave_while_it_looks_are_no_leak(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Of the stock it read what was held, of the reservations what is so no more."""
    async with stalled() as world:
        world.other.store.meanwhile = lambda: world.other.hears(dispatched("o1"), "o1 dispatched")
        with caplog.at_level(logging.WARNING):
            assert await free_leaked_holds(world.other.runner) == 0
        assert not caplog.messages
        assert await world.level() == (ON_HAND - 2, 0)


async def test_a_hold_whose_order_goes_on_is_left_alone() -> None:
    async with stalled() as world:
        assert await free_leaked_holds(world.other.runner) == 0
        assert await world.level() == (ON_HAND, 2)
        await world.other.hears(dispatched("o1"), "o1 dispatched")
        assert await world.level() == (ON_HAND - 2, 0)
