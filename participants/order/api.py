"""The routes of orders and carts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import web

from contracts.api import orders as api
from contracts.api.base import Page
from contracts.api.orders import CancelOrder, Checkout, CreateOrder, OrdersQuery, PutCartItem
from participants.demo import DEMO_PRODUCTS
from participants.order import carts
from participants.order.domain import Order
from participants.order.placing import OrderPlacing, wants
from participants.order.projections import catalogue
from participants.order.steps import RequestCancellation, order
from participants.order.view import cart_resource, order_resource
from participants.service import (
    Service,
    ServiceContext,
    execute,
    is_staff,
    owned,
    owned_page,
)
from sagas.web.auth import Principal, require
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import check_if_match, etag_of, not_modified, tagged_response
from sagas.web.health import Degraded
from sagas.web.operations import Operation, routes_of
from sagas.web.prefer import PREFER
from sagas.web.problems import Problem, not_found, unprocessable

__all__ = ["SERVICE", "CartRoutes", "OrderRoutes"]

#: A whole order shows an address, which must not outlive its customer in a kept answer.
PERSONAL = frozenset({200})


ONE_ORDER, ONE_CART = "/api/orders/{order_id}", "/api/carts/{customer_id}"
AN_ORDER = {"order_id": "0198c1de-0000-7000-8000-000000000001"}
MINE = {"customer_id": "me"}
#: The answers where an order was placed: at once, or once it is settled.
PLACED = {202: api.OrderAccepted, 200: api.Order}
REFUSED = ("unknown_product", "mixed_currencies")
CHECKOUT = {
    "payment": {"method": "card", "token": "tok_ok"},
    "shipping_address": {
        "line1": "1 Main St",
        "city": "Springfield",
        "postal_code": "12345",
        "country": "US",
    },
}

#: Whoever is no customer of ours may still have a cart, but not under any odd name.
_ID = re.compile(r"[\x21-\x7e]{1,128}")


def _owner(principal: Principal, customer_id: str) -> str:
    """Whose resource is meant: another's does not exist, except for staff."""
    if customer_id in ("me", principal.subject):
        return principal.subject
    if not is_staff(principal) or not _ID.fullmatch(customer_id):
        raise not_found("There is no such customer.")
    return customer_id


class OrderRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner
        self._placing = OrderPlacing(context)

    @Operation(
        "POST",
        "/api/orders",
        "Place an order, for yourself unless staff name another customer",
        PLACED,
        body=CreateOrder,
        once=True,
        forget=PERSONAL,
        headers=PREFER,
        refuses={404: ("not_found",), 422: REFUSED},
        examples={
            "two lamps": {
                "customer_id": "me",
                "lines": [{"sku": "LAMP-01", "quantity": 2}],
                **CHECKOUT,
            },
            "a card that is declined": {
                "lines": [{"sku": "MUG-01", "quantity": 1}, {"sku": "PEN-01", "quantity": 3}],
                **CHECKOUT,
                "payment": {"method": "card", "token": "tok_declined"},
            },
        },
    )
    async def create(self, request: web.Request) -> web.Response:
        principal = require(request)
        wanted = await read_json(request, CreateOrder)
        customer_id = _owner(principal, wanted.customer_id)
        placed = await self._placing.place(
            request, operation_id(request), customer_id, wants(wanted.lines), wanted
        )
        return await self._placing.answer(request, placed)

    @Operation(
        "GET",
        "/api/orders",
        "Look through your orders, newest first; staff see everyone's",
        {200: Page[api.Order]},
        query=OrdersQuery,
        sample={"status": "confirmed", "limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, OrdersQuery)
        return await owned_page(
            request, self._runner, order.saga, order_resource, query, status=query.status
        )

    @Operation("GET", ONE_ORDER, "Read an order", {200: api.Order}, places=AN_ORDER, tagged=True)
    async def get(self, request: web.Request) -> web.Response:
        return tagged_response(request, order_resource(await self._visible(request)))

    @Operation(
        "POST",
        f"{ONE_ORDER}/cancel",
        "Ask for an order to be cancelled; its cancellation_request tells what came of it",
        {202: api.Order},
        body=CancelOrder,
        body_optional=True,
        once=True,
        refuses={409: ("too_late_to_cancel",)},
        places=AN_ORDER,
        examples={"with a reason": {"reason": "ordered twice"}},
    )
    async def cancel(self, request: web.Request) -> web.Response:
        principal = require(request)
        stored = await self._visible(request)
        reason = None
        if request.body_exists:
            reason = (await read_json(request, CancelOrder)).reason
        staff = is_staff(principal) and principal.subject != stored.customer_id
        command = RequestCancellation(
            by=principal.subject,
            code="cancelled_by_staff" if staff else "cancelled_by_customer",
            reason=reason,
        )
        # With its id: repeated after a crash, when all is undone, it is still what was granted.
        key, id_ = stored.order_id, operation_id(request)
        reply = await execute(request, self._runner, order.saga, key, command, id=id_)
        return json_response(order_resource(reply.state), 202)

    async def _visible(self, request: web.Request) -> Order:
        stored = await owned(request, self._runner, order.saga, request.match_info["order_id"])
        assert isinstance(stored, Order)
        return stored


class CartRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner
        self._placing = OrderPlacing(context)

    @Operation("GET", ONE_CART, "Read a cart", {200: api.Cart}, places=MINE, tagged=True)
    async def get(self, request: web.Request) -> web.Response:
        customer_id = self._customer(request)
        cart = await self._stored(customer_id)
        unchanged = not_modified(request, cart.version)
        return unchanged or _cart_response(cart)

    @Operation(
        "PUT",
        f"{ONE_CART}/items/{{sku}}",
        "Put a product into a cart, or change how many",
        {200: api.Cart},
        body=PutCartItem,
        if_match="optional",
        refuses={422: ("unknown_product", "cart_full")},
        places={**MINE, "sku": "MUG-01"},
        examples={"two of them": {"quantity": 2}},
    )
    async def put_item(self, request: web.Request) -> web.Response:
        customer_id = self._customer(request)
        item = await read_json(request, PutCartItem)
        sku = request.match_info["sku"]
        if sku not in await self._placing.known([sku]):
            raise unprocessable("unknown_product", f"There is no product {sku} to order.")
        version = (await self._stored(customer_id)).version
        check_if_match(request, version)
        command = carts.PutItem(
            customer_id=customer_id,
            sku=sku,
            quantity=item.quantity,
            expected=version if "If-Match" in request.headers else None,
        )
        reply = await execute(request, self._runner, carts.carts, customer_id, command)
        return _cart_response(reply.state)

    @Operation(
        "DELETE",
        f"{ONE_CART}/items/{{sku}}",
        "Take a product out of a cart",
        {204: None},
        places={**MINE, "sku": "MUG-01"},
    )
    async def remove_item(self, request: web.Request) -> web.Response:
        customer_id = self._customer(request)
        command = carts.RemoveItem(sku=request.match_info["sku"])
        await execute(request, self._runner, carts.carts, customer_id, command)
        return web.Response(status=204)

    @Operation("DELETE", ONE_CART, "Empty a cart", {204: None}, places=MINE)
    async def clear(self, request: web.Request) -> web.Response:
        customer_id = self._customer(request)
        await execute(request, self._runner, carts.carts, customer_id, carts.ClearCart())
        return web.Response(status=204)

    @Operation(
        "POST",
        f"{ONE_CART}/checkout",
        "Order what is in a cart; what was ordered leaves it",
        PLACED,
        body=Checkout,
        once=True,
        forget=PERSONAL,
        headers=PREFER,
        refuses={422: (*REFUSED, "cart_empty")},
        places=MINE,
        examples={"by card": CHECKOUT},
    )
    async def checkout(self, request: web.Request) -> web.Response:
        """Fix the content under an order id, place that order, then empty the cart.

        Whatever dies in between, the same content always becomes the same order.
        """
        customer_id = self._customer(request)
        how = await read_json(request, Checkout)
        kind = carts.carts
        earlier = await self._runner.get(order.saga, operation_id(request))
        if isinstance(earlier, Order):
            # The same request again: the cart may hold other things by now, which stay in it.
            return await self._placing.answer(request, earlier)
        await self._settle_overtaken(request, customer_id)
        begin = carts.BeginCheckout(order_id=operation_id(request))
        begun = (await execute(request, self._runner, kind, customer_id, begin)).value
        assert isinstance(begun, carts.Checkout)
        placed = await self._runner.get(order.saga, begun.order_id)
        if not isinstance(placed, Order):
            try:
                placed = await self._placing.place(
                    request, begun.order_id, customer_id, wants(begun.items), how
                )
            except Problem:
                abandon = carts.AbandonCheckout(order_id=begun.order_id)
                await execute(request, self._runner, kind, customer_id, abandon)
                raise
        finish = carts.FinishCheckout(order_id=begun.order_id)
        await execute(request, self._runner, kind, customer_id, finish)
        return await self._placing.answer(request, placed)

    async def _settle_overtaken(self, request: web.Request, customer_id: str) -> None:
        """An earlier checkout died before it was known to be placed, and the cart was edited."""
        earlier = (await self._stored(customer_id)).checkout
        if earlier is None or not earlier.overtaken:
            return
        placed = await self._runner.get(order.saga, earlier.order_id)
        ending = carts.AbandonCheckout if placed is None else carts.FinishCheckout
        command = ending(order_id=earlier.order_id)
        await execute(request, self._runner, carts.carts, customer_id, command)

    async def _stored(self, customer_id: str) -> carts.Cart:
        cart = await self._runner.get(carts.carts, customer_id)
        return cart if isinstance(cart, carts.Cart) else carts.Cart(customer_id=customer_id)

    @staticmethod
    def _customer(request: web.Request) -> str:
        return _owner(require(request), request.match_info["customer_id"])


def _cart_response(cart: carts.Cart) -> web.Response:
    return json_response(cart_resource(cart), headers={"ETag": etag_of(cart.version)})


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return [
        *routes_of(OrderRoutes(context), once=context.idempotent),
        *routes_of(CartRoutes(context), once=context.idempotent),
    ]


async def _seeded(context: ServiceContext) -> None:
    skus = [product.sku for product in DEMO_PRODUCTS]
    missing = set(skus) - set(await context.runner.cached(catalogue, skus, 1.0))
    if missing:
        raise Degraded(f"{len(missing)} seeded products cannot be ordered yet")


SERVICE = Service(
    name="order",
    port=2,
    participant=order,
    routes=routes,
    seeded=_seeded,
    statuses={
        "not_found": 404,
        carts.STALE_VERSION: 412,
        "cart_empty": 422,
        "cart_full": 422,
    },
)
