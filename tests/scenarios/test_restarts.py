"""What a crash leaves behind, story by story."""

from __future__ import annotations

import asyncio

from participants.payment.steps import payment
from participants.shipping.carrier import BookParcel, parcels
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
