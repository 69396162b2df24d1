"""The whole shop in one test: all participants and the tracker on virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from contracts.events.order import OrderLine
from contracts.values import Address, Money
from participants.choreography import shop as choreography
from participants.inventory.ledger import AdjustStock, SeedStock, StockLedger, StoredLedger, stock
from participants.order.domain import Order
from participants.order.steps import PlaceOrder, RequestCancellation
from participants.payment.domain import Payment
from participants.payment.provider import Charge, PaymentProvider, SandboxProvider
from participants.payment.steps import charges
from participants.shipping.carrier import Carrier, SandboxCarrier, parcels
from sagas import CommandRefused
from sagas.ports import Broker, Query, Store
from sagas.testing.harness import Harness
from sagas.tracker.tracker import Tracker

CUSTOMER = "018f0000-0000-7000-8000-0000000000cc"
PRICE = 1_999
ON_HAND = 1_000
CARRIER_STEP_S = 2.0


@dataclass(frozen=True)
class Outcome:
    """A row of the contract's outcome table, with what must have become of everything."""

    name: str
    token: str = "tok_ok"
    quantity: int = 2
    postal_code: str = "12345"
    code: str | None = None
    payment: str | None = "captured"
    charges: int = 1
    shipment: str | None = "delivered"
    sold: int = 2

    def __str__(self) -> str:
        return self.name


OUTCOMES = (
    Outcome("tok_ok"),
    Outcome(
        "tok_declined",
        token="tok_declined",
        code="payment_declined",
        payment="declined",
        charges=0,
        shipment=None,
        sold=0,
    ),
    Outcome("tok_flaky", token="tok_flaky"),
    Outcome("tok_timeout", token="tok_timeout"),
    Outcome(
        "tok_outage",
        token="tok_outage",
        code="payment_unavailable",
        payment="voided",
        charges=0,
        shipment=None,
        sold=0,
    ),
    Outcome(
        "quantity_above_available",
        quantity=1_000_000,
        code="insufficient_stock",
        payment="refunded",
        shipment=None,
        sold=0,
    ),
    Outcome(
        "postal_code_00000",
        postal_code="00000",
        code="undeliverable_address",
        payment="refunded",
        shipment=None,
        sold=0,
    ),
    Outcome(
        "postal_code_99999",
        postal_code="99999",
        code="lost_in_transit",
        payment="refunded",
        shipment="lost",
    ),
)


class ShopWorld:
    """Verbs of the shop for tests, and its books."""

    def __init__(self, harness: Harness, tracker: Tracker) -> None:
        self.harness = harness
        self.tracker = tracker
        self._order_ids: list[str] = []

    async def place(
        self,
        *,
        token: str = "tok_ok",
        quantity: int = 2,
        postal_code: str = "12345",
        sku: str = "LAMP-01",
        deadline_s: float = 900.0,
    ) -> str:
        order_id = self.harness.ids.new()
        self._order_ids.append(order_id)
        price = Money(amount=PRICE, currency="USD")
        command = PlaceOrder(
            order_id=order_id,
            customer_id=CUSTOMER,
            lines=(OrderLine(sku=sku, name="Lamp", quantity=quantity, unit_price=price),),
            total=Money(amount=PRICE * quantity, currency="USD"),
            payment_method="card",
            payment_token=token,
            shipping_address=Address(
                line1="1 Main St", city="Springfield", postal_code=postal_code, country="US"
            ),
            deadline_s=deadline_s,
        )
        await self.harness.execute("order", order_id, command)
        return order_id

    async def cancel(self, order_id: str) -> bool:
        """Whether the request was taken (which does not mean that it will be granted)."""
        command = RequestCancellation(by=CUSTOMER, code="cancelled_by_customer", reason=None)
        try:
            await self.harness.execute("order", order_id, command)
        except CommandRefused:
            return False
        return True

    async def order(self, order_id: str) -> Order:
        state = await self.harness.state("order", order_id)
        assert isinstance(state, Order)
        return state

    async def payment(self, order_id: str) -> Payment | None:
        return await self.harness.state("payment", order_id)

    async def shipment_status(self, order_id: str) -> str | None:
        state = await self.harness.state("shipping", order_id)
        return None if state is None else state.status

    async def saga(self, order_id: str) -> dict[str, Any]:
        found = await self.tracker.saga(order_id)
        assert found is not None
        return found

    async def steps(self, order_id: str) -> dict[str, str]:
        return {step["name"]: step["status"] for step in (await self.saga(order_id))["steps"]}

    async def stock(self, sku: str = "LAMP-01") -> tuple[int, int]:
        """On hand, reserved."""
        item = await self.harness.state("inventory", sku, stock)
        return item.on_hand, item.reserved

    async def adjust(self, sku: str, delta: int) -> None:
        command = AdjustStock(operation=self.harness.ids.new(), delta=delta)
        await self.harness.execute("inventory", sku, command, stock)

    async def money_kept(self) -> int:
        """What the provider took and did not give back, over all charges it knows."""
        found = await self.harness.runners["payment"].find(charges, Query(limit=100_000))
        kept = 0
        for _, charge in found:
            assert isinstance(charge, Charge)
            assert charge.charges <= 1, "charged twice"
            kept += charge.amount * charge.charges - sum(charge.refunds.values()) - charge.returned
        return kept

    async def quiet(self) -> None:
        await self.harness.quiet(30.0)
        self.harness.check()

    async def check_books(self) -> None:
        """Money and stock add up over every order ever placed, and each ended one way only."""
        sold = owed = 0
        for order_id in self._order_ids:
            order, payment = await self.order(order_id), await self.payment(order_id)
            parcel = await self.harness.state("shipping", order_id, parcels)
            left = parcel is not None and parcel.status in (
                "dispatched",
                "in_transit",
                "delivered",
                "lost",
            )
            assert order.status in ("delivered", "cancelled"), order.status
            if left:
                sold += sum(line.quantity for line in order.lines)
            if order.status == "delivered":
                assert payment is not None
                assert payment.status == "captured"
                assert left
                owed += order.total.amount
            else:
                assert payment is None or payment.left == 0, "money was kept for a cancelled order"
                assert not left or parcel.status == "lost", "goods are out and the money is back"
            expected = "completed" if order.status == "delivered" else "compensated"
            assert (await self.saga(order_id))["status"] == expected
        on_hand, reserved = await self.stock()
        assert (on_hand, reserved) == (ON_HAND - sold, 0)
        assert await self.money_kept() == owed


@asynccontextmanager
async def open_world(
    *,
    seed: int = 0,
    broker: Callable[[Harness], Broker] | None = None,
    store: Callable[[str, Store], Store] = lambda name, store: store,
    carrier_step_s: float = CARRIER_STEP_S,
    alone: bool = True,
) -> AsyncIterator[ShopWorld]:
    harness = Harness(
        choreography,
        resources={
            "payment": lambda runner: {PaymentProvider: SandboxProvider(runner, charges)},
            "inventory": lambda runner: {StockLedger: StoredLedger(runner)},
            "shipping": lambda runner: {Carrier: SandboxCarrier(runner, carrier_step_s)},
        },
        seed=seed,
        broker=broker,
        store=store,
        alone=alone,
    )
    tracker = Tracker(
        choreography,
        store=harness.database.store("tracker"),
        broker=harness.broker,
        clock=harness.clock,
        ids=harness.ids,
        alone=alone,
    )
    await harness.broker.open(choreography.queues(*tracker.participants))
    await tracker.start()
    try:
        async with harness:
            await harness.execute("inventory", "LAMP-01", SeedStock(on_hand=ON_HAND), stock)
            yield ShopWorld(harness, tracker)
    finally:
        await tracker.kill()
