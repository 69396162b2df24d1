"""Cancelling at every point of the flow, and crashing between every effect and its write."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from participants.order.steps import RequestCancellation
from sagas import CommandRefused
from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import Message
from sagas.ports import Outcome as Written
from sagas.ports import Store, Write
from tests.scenarios.world import OUTCOMES, Outcome, open_world

#: The events of each outcome's flow: the customer cancels right before and right after each.
FLOWS = {
    "tok_ok": "OrderPlaced PaymentTaken StockReserved ShipmentScheduled CarrierDispatched "
    "ParcelDispatched ParcelInTransit ParcelDelivered",
    "tok_declined": "OrderPlaced PaymentDeclined OrderCancelled",
    "tok_flaky": "OrderPlaced PaymentTaken StockReserved ShipmentScheduled ParcelDispatched",
    "tok_timeout": "OrderPlaced PaymentTaken StockReserved ShipmentScheduled ParcelDispatched",
    "tok_outage": "OrderPlaced StepRetrying PaymentDeclined OrderCancelled",
    "quantity_above_available": "OrderPlaced PaymentTaken StockRejected PaymentRefunded "
    "OrderCancelled",
    "postal_code_00000": "OrderPlaced PaymentTaken StockReserved ShipmentRejected StockReleased "
    "PaymentRefunded OrderCancelled",
    "postal_code_99999": "OrderPlaced PaymentTaken StockReserved ShipmentScheduled "
    "ParcelDispatched ParcelInTransit ParcelLost PaymentRefunded OrderCancelled",
}
POINTS = [(outcome, event) for outcome in OUTCOMES for event in FLOWS[outcome.name].split()]


class _Watched(EmbeddedBroker):
    """Calls ``before`` with what is about to be published, and ``after`` once it is queued."""

    def __init__(self) -> None:
        super().__init__()
        self.before: Callable[[Sequence[Message]], Awaitable[None]] | None = None

    async def publish(self, messages: Sequence[Message]) -> None:
        if self.before is not None:
            await self.before(messages)
        await super().publish(messages)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("outcome", "event"), POINTS, ids=str)
async def test_a_cancel_at_any_event_undoes_everything_or_is_refused(
    outcome: Outcome, event: str, when: str
) -> None:
    broker = _Watched()
    async with open_world(carrier_step_s=0.5, broker=lambda world: broker) as world:
        taken: list[bool] = []
        cancelling: list[asyncio.Task[None]] = []

        async def cancel(order_id: str) -> None:
            taken.append(await world.cancel(order_id))

        async def at_the_event(messages: Sequence[Message]) -> None:
            found = [message.saga_id for message in messages if message.type == event]
            if not found or cancelling or taken or found[0] is None:
                return
            if when == "before":  # the cancel is stored before anybody hears the event
                await cancel(found[0])
            else:
                cancelling.append(asyncio.create_task(cancel(found[0])))

        broker.before = at_the_event
        order_id = await world.place(
            token=outcome.token, quantity=outcome.quantity, postal_code=outcome.postal_code
        )
        await world.quiet()
        await asyncio.gather(*cancelling)
        await world.quiet()

        assert taken, f"{event} never came"
        order = await world.order(order_id)
        request = order.cancellation_request
        dispatched = "ParcelDispatched" in world.harness.types(order_id)
        if dispatched and outcome.code is None:
            assert order.status == "delivered"
            assert request is None or request.status == "refused"
        elif taken[0] and not dispatched:
            assert request is not None
            assert request.status == "done"
        await world.check_books()


@pytest.mark.parametrize("moment", [n / 50 for n in range(60)])
async def test_a_cancel_at_any_moment_against_a_quick_carrier(moment: float) -> None:
    async with open_world(carrier_step_s=0.3) as world:
        order_id = await world.place(token="tok_flaky")
        await asyncio.sleep(moment)
        await world.cancel(order_id)
        await world.quiet()
        await world.check_books()


async def test_the_sagas_deadline_cancels_an_order_that_hangs() -> None:
    async with open_world(carrier_step_s=3_600) as world:
        order_id = await world.place(deadline_s=900)
        await asyncio.sleep(890)
        assert (await world.order(order_id)).status == "confirmed"
        await world.quiet()
        await asyncio.sleep(60)
        order = await world.order(order_id)
        assert order.status == "cancelled"
        assert order.cancellation is not None
        assert order.cancellation.code == "deadline_exceeded"
        assert order.cancellation_request is not None
        assert order.cancellation_request.by == "deadline"
        await world.check_books()


async def test_the_deadline_is_void_once_the_parcel_has_left() -> None:
    async with open_world(carrier_step_s=600) as world:
        order_id = await world.place(deadline_s=900)
        await asyncio.sleep(3_000)
        await world.quiet()
        assert (await world.order(order_id)).status == "delivered"
        await world.check_books()


async def test_an_operator_cancels_through_the_tracker() -> None:
    async with open_world(carrier_step_s=3_600) as world:
        order_id = await world.place()
        await world.harness.quiet()
        await world.tracker.cancel(order_id, by="staff-1", reason="fraud suspected")
        await world.quiet()
        order = await world.order(order_id)
        assert order.cancellation is not None
        assert order.cancellation.code == "cancelled_by_staff"
        requested = next(
            event
            for event in (await world.saga(order_id))["events"]
            if event["type"] == "CancelRequested"
        )
        assert requested["data"]["by"] == "staff-1"
        assert requested["data"]["reason"] == "fraud suspected"
        await world.check_books()


# ------------------------------------------------------------------------------------- crashes


class _Frozen:
    """A store whose next write to one collection never returns: the process will die there."""

    def __init__(self, inner: Store, collection: str) -> None:
        self._inner = inner
        self._collection = collection
        self.reached = asyncio.Event()
        self.armed = True

    async def commit(self, writes: Sequence[Write]) -> list[Written]:
        if self.armed and any(write.collection == self._collection for write in writes):
            self.reached.set()
            await asyncio.Event().wait()
        return await self._inner.commit(writes)

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)


@pytest.mark.parametrize(
    ("participant", "collection"),
    [("payment", "payments"), ("inventory", "reservations"), ("shipping", "shipments")],
)
@pytest.mark.parametrize("cancel_first", [True, False], ids=["cancel_first", "step_first"])
async def test_a_crash_between_an_effect_and_its_write_then_a_cancel(
    participant: str, collection: str, cancel_first: bool
) -> None:
    """Nothing stays charged, held or booked, although nobody wrote down that it was."""
    frozen: list[_Frozen] = []

    def wrap(name: str, store: Store) -> Store:
        if name != participant or frozen:
            return store
        frozen.append(_Frozen(store, collection))
        return frozen[0]  # type: ignore[return-value]

    async with open_world(store=wrap, carrier_step_s=3_600) as world:
        order_id = await world.place()
        async with asyncio.timeout(60):
            await frozen[0].reached.wait()
        await world.harness.crash(participant)
        if cancel_first:
            assert await world.cancel(order_id)
            await asyncio.sleep(5)
        await world.harness.restart(participant)
        if not cancel_first:
            await asyncio.sleep(0.2)
            assert await world.cancel(order_id)
        await world.quiet()
        assert (await world.order(order_id)).status == "cancelled"
        assert await world.money_kept() == 0
        await world.check_books()


async def test_a_cancel_repeated_after_all_is_undone_is_answered_as_before() -> None:
    """Its answer was lost in a crash: whoever asks again was granted it, and is not too late."""
    async with open_world(carrier_step_s=3_600) as world:
        order_id = await world.place()
        await asyncio.sleep(1)
        command = RequestCancellation(by="c", code="cancelled_by_customer", reason=None)
        first = await world.harness.execute("order", order_id, command, id="op-1")
        await world.harness.restart("order")
        await world.quiet()
        assert (await world.order(order_id)).status == "cancelled"
        again = await world.harness.execute("order", order_id, command, id="op-1")
        assert (first.repeated, again.repeated) == (False, True)
        with pytest.raises(CommandRefused, match="too_late_to_cancel"):
            await world.harness.execute("order", order_id, command, id="op-2")
        await world.check_books()
