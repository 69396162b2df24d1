"""The routes of carts."""

from __future__ import annotations

from aiohttp import web

from contracts.api import orders as api
from contracts.api.orders import Checkout, PutCartItem
from participants.editing import Versions, edit
from participants.order import carts
from participants.order.domain import Order
from participants.order.order_api import CHECKOUT, PERSONAL, PLACED, REFUSED, owner_of
from participants.order.placing import OrderPlacing, wants
from participants.order.steps import order
from participants.order.view import cart_resource
from participants.service import (
    ServiceContext,
    execute,
)
from sagas.web.auth import require
from sagas.web.body import json_response, read_json
from sagas.web.context import operation_id
from sagas.web.etag import etag_of, not_modified
from sagas.web.operations import Operation
from sagas.web.prefer import PREFER
from sagas.web.problems import Problem, unprocessable

__all__ = ["CartRoutes"]

ONE_CART = "/api/carts/{customer_id}"
MINE = {"customer_id": "me"}


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

        def putting(expected: Versions) -> carts.PutItem:
            return carts.PutItem(
                customer_id=customer_id, sku=sku, quantity=item.quantity, expected=expected
            )

        return _cart_response(await edit(request, self._runner, carts.carts, customer_id, putting))

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
        return owner_of(require(request), request.match_info["customer_id"])


def _cart_response(cart: carts.Cart) -> web.Response:
    return json_response(cart_resource(cart), headers={"ETag": etag_of(cart.version)})
