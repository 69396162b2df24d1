"""Placing an order: prices from the catalogue, one durable write, then maybe a wait."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from contracts.api.orders import Checkout
from contracts.events.order import OrderLine
from contracts.values import MAX_MONEY, Money
from participants.order.domain import Order
from participants.order.projections import catalogue
from participants.order.steps import PlaceOrder, order
from participants.order.view import accepted, order_resource
from participants.service import ServiceContext, execute
from sagas import Reply
from sagas.web.body import json_response
from sagas.web.prefer import preferred_wait_s
from sagas.web.problems import pointer_error, unprocessable, validation_failed
from sagas.web.state import STOPPING

__all__ = ["OrderPlacing", "wants"]

#: The catalogue follows product's events anyway; a second more does not matter.
CATALOGUE_AGE_S = 1.0

Wanted = Sequence[tuple[str, int]]  # SKU, quantity


def wants(lines: Sequence[object]) -> Wanted:
    """SKU and quantity of order lines or cart items."""
    return [(line.sku, line.quantity) for line in lines]  # type: ignore[attr-defined]


class OrderPlacing:
    """Places orders for the routes of orders and carts."""

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._runner = context.runner

    async def place(
        self, request: web.Request, order_id: str, customer_id: str, wanted: Wanted, how: Checkout
    ) -> Order:
        """Store the order as pending; the same ``order_id`` again answers the order it made."""
        lines = await self._lines(wanted)
        command = PlaceOrder(
            order_id=order_id,
            customer_id=customer_id,
            lines=lines,
            total=_total(lines),
            payment_method=how.payment.method,
            payment_token=how.payment.token,
            shipping_address=how.shipping_address,
            deadline_s=self._context.settings.saga_deadline_s,
        )
        # Its id is one that was just made, unless the request is a repeat.
        reply: Reply = await execute(
            request, self._runner, order.saga, order_id, command, first=True
        )
        assert isinstance(reply.state, Order)
        return reply.state

    async def known(self, skus: Sequence[str]) -> set[str]:
        """Which of these can be ordered."""
        entries = await self._runner.cached(catalogue, skus, CATALOGUE_AGE_S)
        return {sku for sku, entry in entries.items() if entry.active}

    async def _lines(self, wanted: Wanted) -> tuple[OrderLine, ...]:
        entries = await self._runner.cached(catalogue, [sku for sku, _ in wanted], CATALOGUE_AGE_S)
        lines = []
        for sku, quantity in wanted:
            entry = entries.get(sku)
            if entry is None or not entry.active:
                raise unprocessable("unknown_product", f"There is no product {sku} to order.")
            lines.append(
                OrderLine(sku=sku, name=entry.name, quantity=quantity, unit_price=entry.price)
            )
        return tuple(lines)

    # ----------------------------------------------------------------------------------- answers

    async def answer(self, request: web.Request, placed: Order) -> web.Response:
        """202 at once; with ``Prefer: wait`` 200 once it is confirmed or cancelled, if in time."""
        headers = {"Location": f"/api/orders/{placed.order_id}"}
        wait_s = preferred_wait_s(request.headers)
        if wait_s is None:
            return json_response(accepted(placed), 202, headers)
        headers["Preference-Applied"] = f"wait={wait_s}"
        settled = await self._runner.until(
            order.saga,
            placed.order_id,
            _is_settled,
            within_s=wait_s,
            stopping=request.app[STOPPING],
        )
        if settled is None:
            return json_response(accepted(placed), 202, headers)
        return json_response(order_resource(settled), 200, headers)


def _is_settled(state: object) -> bool:
    """Confirmed, or ended: nothing that a waiting customer would still want to hear of."""
    return isinstance(state, Order) and state.status not in ("pending", "paid")


def _total(lines: Sequence[OrderLine]) -> Money:
    currencies = {line.unit_price.currency for line in lines}
    if len(currencies) > 1:
        raise unprocessable("mixed_currencies", "All products of an order are in one currency.")
    amount = sum(line.unit_price.amount * line.quantity for line in lines)
    if amount > MAX_MONEY:
        raise validation_failed(pointer_error(["lines"], "the total is too large"))
    return Money(amount=amount, currency=currencies.pop())
