"""What a crash leaves behind, story by story."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

from contracts.values import Address
from participants.order import carts
from participants.payment.steps import RefundPayment, payment
from participants.shipping.carrier import (
    Booked,
    BookParcel,
    Carrier,
    CarrierDelivered,
    CarrierDispatched,
    NotTaken,
    SandboxCarrier,
    parcels,
)
from sagas import CommandRefused, Retryable, Runner
from tests.scenarios.world import ON_HAND, open_world


async def test_an_event_that_is_published_again_after_a_restart_holds_no_stock_again() -> None:
    async with open_world() as shop:
        order_id = await shop.place(quantity=2)
        await shop.quiet()
        assert await shop.stock() == (ON_HAND - 2, 0)
        taken = next(e for e in shop.harness.events(order_id) if e.type == "PaymentTaken")
        await shop.harness.restart("inventory")  # its cache is empty, as after a crash
        await shop.harness.broker.publish([taken])
        await shop.quiet()
        assert await shop.stock() == (ON_HAND - 2, 0)


async def test_a_parcel_may_leave_before_its_booking_is_written() -> None:
    """Shipping dies between the carrier's booking and its own write; the carrier goes on."""
    async with open_world() as shop:
        await shop.harness.crash("inventory")
        order_id = await shop.place(quantity=2)
        await shop.harness.quiet(5)
        # What such a crash leaves of schedule_shipment: a booked parcel, and no shipment.
        booking = BookParcel(postal_code="12345", step_s=1.0)
        await shop.harness.execute("shipping", order_id, booking, parcels)
        await asyncio.sleep(5)
        await shop.harness.restart("inventory")
        await shop.quiet()
        assert "DeadLettered" not in shop.harness.types(order_id)
        assert "AttentionNeeded" not in shop.harness.types(order_id)
        await shop.check_books()


async def test_an_event_that_is_out_leaves_its_outbox_though_a_write_lost_its_race() -> None:
    async with open_world(carrier_step_s=0.2, alone=False) as shop:
        order_id = await shop.place()
        await asyncio.sleep(0.3)  # PaymentTaken is out, and no sweep has come by yet
        await shop.harness.restart("payment")  # which publishes it again
        await asyncio.sleep(3.0)
        assert (await shop.order(order_id)).status == "delivered"
        store = shop.harness.database.store("payment")
        await store.open([payment.saga.collection])
        assert [each.key for each in await store.pending("payments", 10)] == []


class _LostAnswers(SandboxCarrier):
    """Books, but its answers are lost for a while; meanwhile the parcel moves."""

    def __init__(self, runner: Runner, lost: int) -> None:
        super().__init__(runner, 1.0)
        self._lost = lost

    async def book(self, key: str, address: Address) -> Booked | NotTaken:
        answer = await super().book(key, address)
        if self._lost > 0:
            self._lost -= 1
            raise Retryable("the answer was lost")
        return answer


@pytest.mark.parametrize("lost", [2, 4, 6, 8])
async def test_a_parcel_moves_while_the_answer_to_its_booking_is_lost(lost: int) -> None:
    async with open_world() as shop:
        carriers = {"shipping": lambda runner: {Carrier: _LostAnswers(runner, lost)}}
        shop.harness.replace_resources(carriers)
        await shop.harness.restart("shipping")
        order_id = await shop.place()
        await asyncio.sleep(400)
        await shop.quiet()
        assert "DeadLettered" not in shop.harness.types(order_id)
        assert (await shop.order(order_id)).status == "delivered"
        await shop.check_books()


async def test_a_dispatch_that_the_carrier_reported_is_not_cancelled_any_more() -> None:
    async with open_world(carrier_step_s=3_600) as shop:
        order_id = await shop.place()
        await asyncio.sleep(1)
        report = CarrierDispatched(event_id="e1", occurred_at=shop.harness.clock.now())
        await asyncio.gather(
            shop.harness.execute("shipping", order_id, report, id="e1"), shop.cancel(order_id)
        )
        await asyncio.sleep(20)
        types = shop.harness.types(order_id)
        assert "ParcelDispatched" in types
        assert "CancellationRefused" in types
        assert "PaymentRefunded" not in types


async def test_late_reports_of_a_cancelled_parcel_call_a_person_and_deliver_nothing() -> None:
    async with open_world(carrier_step_s=3_600) as shop:
        order_id = await shop.place()
        await asyncio.sleep(1)
        assert await shop.cancel(order_id)
        await asyncio.sleep(5)
        report = CarrierDelivered(event_id="x", occurred_at=1.0)
        await shop.harness.execute("shipping", order_id, report, id="x")
        await asyncio.sleep(5)
        types = shop.harness.types(order_id)
        assert "ParcelDelivered" not in types
        assert "AttentionNeeded" in types
        assert (await shop.order(order_id)).status == "cancelled"


async def test_a_refund_is_made_once_though_payment_dies_in_the_middle_of_it() -> None:
    async with open_world(carrier_step_s=0.1) as shop:
        order_id = await shop.place()
        await shop.quiet()
        before = await shop.money_kept()
        refund = RefundPayment(refund_id="r1", amount=None, reason="broken")
        await shop.harness.execute("payment", order_id, refund, id="r1")
        await shop.harness.restart("payment")  # the refund is decided; nobody has made it
        await shop.quiet()
        payment = await shop.payment(order_id)
        assert payment is not None
        assert (payment.status, payment.left, payment.pending) == ("refunded", 0, {})
        assert await shop.money_kept() == 0 < before
        again = RefundPayment(refund_id="r2", amount=None, reason="again")
        with pytest.raises(CommandRefused, match="over_refund"):
            await shop.harness.execute("payment", order_id, again, id="r2")


async def test_a_checkout_dies_and_the_cart_is_edited_before_anybody_looks() -> None:
    async with open_world() as shop:
        cart, me = carts.carts, "me"

        async def do(command: BaseModel) -> Any:
            return (await shop.harness.execute("order", me, command, cart)).value

        await do(carts.PutItem(customer_id=me, sku="LAMP-01", quantity=2))
        begun = await do(carts.BeginCheckout(order_id=shop.harness.ids.new()))
        await shop.harness.restart("order")  # the order is placed; the cart was not told
        await do(carts.PutItem(customer_id=me, sku="MUG-01", quantity=1))
        await do(carts.FinishCheckout(order_id=begun.order_id))
        left = await shop.harness.state("order", me, cart)
        assert [item.sku for item in left.items] == ["MUG-01"]
