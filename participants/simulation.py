"""The shop as a world to simulate: ``sagas simulate participants.simulation:world``.

Participants never import each other, and this file keeps to it: it finds commands, documents and
resources where the choreography and the services declare them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from contracts.events.order import OrderLine
from contracts.values import Address, Money
from participants.choreography import shop
from participants.service import Service, ServiceContext
from participants.services import SERVICES
from participants.settings import ShopSettings
from sagas import Command, Runner
from sagas.ports import Clock, Ids
from sagas.simulate import Act, Invariant, Script, Truth, World, invariant
from sagas.tracker.following import CancelSaga

__all__ = ["world"]

COMMANDS: dict[str, Any] = {
    cls.__name__: cls
    for participant in shop.participants
    for kind in participant.kinds
    for cls in kind.reactions
    if issubclass(cls, Command)
}
SETTINGS = ShopSettings(carrier_step_s=0.1)
#: Few enough that sagas compete for them.
ON_HAND = {"LAMP-01": 8, "MUG-01": 5}
QUANTITIES = (1, 1, 1, 2, 2, 5, 9)
PRICES = {"LAMP-01": 1_999, "MUG-01": 450}
SHOPPER = "018f0000-0000-7000-8000-0000000000cc"
TOKENS = {
    "tok_ok": 24,
    "tok_flaky": 3,
    "tok_timeout": 3,
    "tok_declined": 4,
    "tok_outage": 1,
}
POSTAL_CODES = {"12345": 12, "00000": 2, "99999": 1}
#: Short ones cross every step; a long one never fires.
DEADLINES_S = {900.0: 6, 0.1: 1, 0.3: 1, 1.0: 1, 3.0: 1}
LEFT = ("dispatched", "in_transit", "delivered", "lost")


# ------------------------------------------------------------------------------------ what happens


def draw(chance: random.Random, saga_id: str) -> Script:
    """An order, and sometimes somebody who wants it cancelled, or refunded later."""
    start = chance.choice((0.0, 0.0, chance.random() * 0.5))
    acts = [Act(start, "order", saga_id, _order(chance, saga_id))]
    whim = chance.random()
    moment = start + chance.choice((0.02, 0.1, 0.4, 1.0)) * chance.random()
    if whim < 0.25:
        code = "cancelled_by_customer"
        wish = COMMANDS["RequestCancellation"](by=SHOPPER, code=code, reason=None)
        acts.append(Act(moment, "order", saga_id, wish))
    elif whim < 0.35:
        acts.append(Act(moment, "tracker", saga_id, CancelSaga(by="staff-1", reason="fraud")))
    elif whim < 0.4:
        refund = COMMANDS["RefundPayment"](refund_id=saga_id, amount=None, reason="broken")
        acts.append(Act(start + 1.0, "payment", saga_id, refund))
    return Script(saga_id, tuple(acts))


def _order(chance: random.Random, saga_id: str) -> Command:
    skus = chance.choice((["LAMP-01"], ["MUG-01"], list(PRICES)))
    lines = tuple(
        OrderLine(
            sku=sku,
            name=sku,
            quantity=chance.choice(QUANTITIES),
            unit_price=Money(amount=PRICES[sku], currency="USD"),
        )
        for sku in skus
    )
    total = sum(line.quantity * line.unit_price.amount for line in lines)
    place: Command = COMMANDS["PlaceOrder"](
        order_id=saga_id,
        customer_id=SHOPPER,
        lines=lines,
        total=Money(amount=total, currency="USD"),
        payment_method="card",
        payment_token=_one_of(chance, TOKENS),
        shipping_address=Address(
            line1="1 Main St",
            city="Springfield",
            postal_code=_one_of(chance, POSTAL_CODES),
            country="US",
        ),
        deadline_s=_one_of(chance, DEADLINES_S),
    )
    return place


def _one_of(chance: random.Random, weights: Mapping[Any, int]) -> Any:
    return chance.choices(list(weights), list(weights.values()))[0]


def _resources() -> dict[str, Any]:
    return {
        service.name: partial(_of_service, service.resources)
        for service in SERVICES
        if service.name not in IDLE
    }


def _of_service(resources: Any, runner: Any) -> Mapping[type, object]:
    found: Mapping[type, object] = resources(runner, SETTINGS)
    return found


def _upkeep_of(service: Service) -> Any:
    """What its host has it do; of the context that it needs, what a world has."""

    async def keep_up(runner: Runner, clock: Clock, ids: Ids) -> None:
        nobody: Any = None
        await service.upkeep(ServiceContext(runner, SETTINGS, clock, ids, nobody, nobody))

    return keep_up


# ------------------------------------------------------------------------------- what must hold


@invariant(always=True)
def no_charge_is_taken_twice(truth: Truth) -> Iterator[str]:
    for key, charge in truth.states("payment", "charges").items():
        back = sum(charge.refunds.values()) + charge.returned
        if charge.charges > 1:
            yield f"order {key} was charged {charge.charges} times"
        if back > charge.amount * charge.charges:
            yield f"order {key} got {back} back of {charge.amount * charge.charges}"


@invariant(always=True)
def stock_is_never_oversold(truth: Truth) -> Iterator[str]:
    for sku, item in truth.states("inventory", "stock").items():
        if item.reserved != sum(item.holds.values()):
            yield f"{sku}: {item.reserved} are reserved, but the holds are {item.holds}"
        if not 0 <= item.reserved <= item.on_hand:
            yield f"{sku}: {item.reserved} of {item.on_hand} are reserved"


@invariant
def money_adds_up(truth: Truth) -> Iterator[str]:
    """Delivered is paid for (unless staff gave it back); anything else is not."""
    orders, payments = truth.states("order"), truth.states("payment")
    charges = truth.states("payment", "charges")
    for order_id, order in orders.items():
        charge, paid = charges.get(order_id), payments.get(order_id)
        kept = 0
        if charge is not None:
            kept = charge.amount * charge.charges - charge.returned - sum(charge.refunds.values())
        refunded = 0 if charge is None else sum(charge.refunds.values())
        owed = order.total.amount - refunded if order.status == "delivered" else 0
        if kept != owed:
            yield f"order {order_id} is {order.status}: {kept} were kept, {owed} are owed"
        if paid is not None and paid.left != kept:
            yield f"the payment of {order_id} says {paid.left}, the provider has {kept}"


@invariant
def stock_adds_up(truth: Truth) -> Iterator[str]:
    sold = dict.fromkeys(ON_HAND, 0)
    parcels = truth.states("shipping", "parcels")
    for order_id, order in truth.states("order").items():
        parcel = parcels.get(order_id)
        if parcel is not None and parcel.status in LEFT:
            for line in order.lines:
                sold[line.sku] += line.quantity
    for sku, item in truth.states("inventory", "stock").items():
        if (item.on_hand, item.reserved) != (ON_HAND[sku] - sold[sku], 0):
            yield (
                f"{sku}: {sold[sku]} of {ON_HAND[sku]} have left, but {item.on_hand} are on hand "
                f"and {item.reserved} reserved"
            )


@invariant
def goods_and_money_are_not_both_out(truth: Truth) -> Iterator[str]:
    parcels = truth.states("shipping", "parcels")
    for order_id, order in truth.states("order").items():
        parcel = parcels[order_id].status if order_id in parcels else "never booked"
        left = parcel in LEFT
        if order.status not in ("delivered", "cancelled"):
            yield f"order {order_id} has ended as {order.status}"
        if order.status == "delivered" and not left:
            yield f"order {order_id} is delivered, its parcel is {parcel}"
        if order.status == "cancelled" and left and parcel != "lost":
            yield f"order {order_id} is cancelled, its parcel is {parcel}"


@invariant
def every_report_of_the_carrier_is_recorded(truth: Truth) -> Iterator[str]:
    """In whatever order they came, and whatever else happened to the shipment meanwhile."""
    shipments = truth.states("shipping")
    for order_id, parcel in truth.states("shipping", "parcels").items():
        if parcel.status not in LEFT or order_id not in shipments:
            continue
        reported = [each.status for each in shipments[order_id].reports]
        wanted = ["dispatched", "in_transit", parcel.status][: 1 + LEFT.index(parcel.status)]
        if missing := [status for status in wanted if reported.count(status) != 1]:
            yield f"of order {order_id}'s parcel {missing} are not recorded once: {reported}"


@invariant
def nobodys_order_is_unknown(truth: Truth) -> Iterator[str]:
    """Whichever instance is asked: what was placed is there."""
    for refused in truth.refused:
        if refused.known and refused.code == "not_found":
            yield f"{type(refused.act.command).__name__} of {refused.act.key} was not found"


@invariant
def products_show_what_is_available(truth: Truth) -> Iterator[str]:
    if "product" not in truth.participants:
        return
    shown = truth.states("product", "availability")
    for sku, item in truth.states("inventory", "stock").items():
        if sku not in shown or shown[sku].available != item.available:
            yield f"{sku}: {item.available} are available, the product shows {shown.get(sku)}"


INVARIANTS: tuple[Invariant, ...] = (
    no_charge_is_taken_twice,
    stock_is_never_oversold,
    money_adds_up,
    stock_adds_up,
    goods_and_money_are_not_both_out,
    every_report_of_the_carrier_is_recorded,
    nobodys_order_is_unknown,
    products_show_what_is_available,
)
#: No saga touches customers; products only show what inventory says.
IDLE, BESIDE = ("customer",), ("product",)

world = World(
    choreography=shop,
    draw=draw,
    resources=_resources,
    invariants=INVARIANTS,
    prepare=[
        Act(0.0, "inventory", sku, COMMANDS["SeedStock"](on_hand=count), kind="stock")
        for sku, count in ON_HAND.items()
    ],
    upkeep={service.name: _upkeep_of(service) for service in SERVICES},
    idle=IDLE,
    beside=BESIDE,
)
