"""The routes of orders, and what those of carts share with them."""

from __future__ import annotations

import re

from aiohttp import web

from contracts.api import orders as api
from contracts.api.base import Page
from contracts.api.orders import CancelOrder, CreateOrder, OrdersQuery
from participants.order.domain import Order
from participants.order.placing import OrderPlacing, wants
from participants.order.steps import RequestCancellation, order
from participants.order.view import order_resource
from participants.service import (
    ServiceContext,
    execute,
    is_staff,
    owned,
    owned_page,
)
from sagas.web.auth import Principal, require
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import tagged_response
from sagas.web.operations import Operation
from sagas.web.prefer import PREFER
from sagas.web.problems import not_found

__all__ = ["CHECKOUT", "PERSONAL", "PLACED", "REFUSED", "OrderRoutes", "owner_of"]

#: A whole order shows an address, which must not outlive its customer in a kept answer.
PERSONAL = frozenset({200})


ONE_ORDER = "/api/orders/{order_id}"
AN_ORDER = {"order_id": "0198c1de-0000-7000-8000-000000000001"}
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


def owner_of(principal: Principal, customer_id: str) -> str:
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
        customer_id = owner_of(principal, wanted.customer_id)
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
