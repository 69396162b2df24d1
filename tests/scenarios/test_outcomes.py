"""Each row of the outcome table, as a story: what becomes of order, money, goods and parcel."""

from __future__ import annotations

import pytest

from sagas.brokers.embedded import EmbeddedBroker
from sagas.testing.unruly import UnrulyBroker
from tests.scenarios.world import ON_HAND, OUTCOMES, PRICE, Outcome, open_world


async def _play(outcome: Outcome, *, unruly_seed: int | None = None) -> None:
    broker = None
    if unruly_seed is not None:
        unruly = UnrulyBroker(EmbeddedBroker(), seed=unruly_seed, longest_delay_s=3.0)
        broker = lambda world: unruly  # noqa: E731
    async with open_world(broker=broker) as world:
        assert await world.stock() == (ON_HAND, 0)
        assert await world.money_kept() == 0

        order_id = await world.place(
            token=outcome.token, quantity=outcome.quantity, postal_code=outcome.postal_code
        )
        await world.quiet()

        order = await world.order(order_id)
        assert order.status == ("delivered" if outcome.code is None else "cancelled")
        assert (order.cancellation and order.cancellation.code) == outcome.code
        payment = await world.payment(order_id)
        assert (payment and payment.status) == outcome.payment == order.payment.status
        assert (payment and payment.payment_id) == order.payment.payment_id
        assert (payment.charges if payment else 0) == outcome.charges
        assert await world.shipment_status(order_id) == outcome.shipment
        assert await world.stock() == (ON_HAND - outcome.sold, 0)
        kept = PRICE * outcome.quantity if outcome.code is None else 0
        assert await world.money_kept() == kept
        await world.check_books()


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_the_outcome_is_as_the_contract_says(outcome: Outcome) -> None:
    await _play(outcome)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_every_message_twice_and_in_any_order_ends_the_same(
    outcome: Outcome, seed: int
) -> None:
    await _play(outcome, unruly_seed=seed)


STEPS = (
    "place_order",
    "take_payment",
    "reserve_stock",
    "schedule_shipment",
    "dispatch_parcel",
    "deliver_parcel",
)

#: How the saga view shows each step at the end, in the flow's order.
VIEWS = {
    "tok_ok": "done done done done done done",
    "tok_declined": "compensated failed skipped skipped skipped skipped",
    "tok_flaky": "done done done done done done",
    "tok_timeout": "done done done done done done",
    "tok_outage": "compensated failed skipped skipped skipped skipped",
    "quantity_above_available": "compensated compensated failed skipped skipped skipped",
    "postal_code_00000": "compensated compensated compensated failed skipped skipped",
    "postal_code_99999": "compensated compensated done done done failed",
}


@pytest.mark.parametrize("outcome", OUTCOMES, ids=str)
async def test_the_saga_view_tells_the_story(outcome: Outcome) -> None:
    async with open_world() as world:
        order_id = await world.place(
            token=outcome.token, quantity=outcome.quantity, postal_code=outcome.postal_code
        )
        await world.quiet()
        saga = await world.saga(order_id)
        assert saga["type"] == "order-to-delivery"
        assert saga["status"] == ("completed" if outcome.code is None else "compensated")
        steps = {step["name"]: step["status"] for step in saga["steps"]}
        assert steps == dict(zip(STEPS, VIEWS[outcome.name].split(), strict=True))
        assert saga["remaining"] == []
        assert saga["violations"] == []
        assert saga["duration_ms"] is not None
        assert (saga["failure"] and saga["failure"]["code"]) == outcome.code
        attempts = {step["name"]: step["attempts"] for step in saga["steps"]}
        tries = {"tok_flaky": 3, "tok_timeout": 2}.get(outcome.name, attempts["take_payment"])
        assert attempts["take_payment"] == tries


async def test_secrets_and_addresses_are_redacted_in_the_view() -> None:
    async with open_world() as world:
        order_id = await world.place()
        await world.quiet()
        text = str((await world.saga(order_id))["events"])
        assert "tok_ok" not in text
        assert "Springfield" not in text
        assert "12345" not in text
