"""The routes of payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from contracts.api import payments as api
from contracts.api.base import Page
from contracts.values import Money
from participants.payment.domain import Payment
from participants.payment.provider import PaymentProvider, SandboxProvider
from participants.payment.steps import RefundPayment, charges, payment
from participants.service import (
    STAFF_ONLY,
    Service,
    ServiceContext,
    execute,
    owned,
    owned_page,
)
from participants.settings import ShopSettings
from sagas import Runner
from sagas.web.body import json_response, read_json, read_query
from sagas.web.context import operation_id
from sagas.web.etag import tagged_response
from sagas.web.operations import Operation, routes_of
from sagas.web.problems import unavailable
from sagas.web.state import STOPPING

__all__ = ["SERVICE", "PaymentRoutes"]

ONE = {"payment_id": "0198c1de-0000-7000-8000-000000000001"}
#: The refund itself is stored and goes on; only its answer is not awaited any longer.
REFUND_WITHIN_S = 8.0


def payment_resource(payment: Payment) -> api.Payment:
    currency = payment.amount.currency
    return api.Payment(
        payment_id=payment.payment_id,
        order_id=payment.order_id,
        status=payment.status,
        amount=payment.amount,
        refunded=Money(amount=payment.refunded, currency=currency),
        charges=payment.charges,
    )


class PaymentRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner

    @Operation(
        "GET",
        "/api/payments",
        "Look through your payments, newest first; staff see everyone's",
        {200: Page[api.Payment]},
        query=api.PaymentsQuery,
        sample={"limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, api.PaymentsQuery)
        return await owned_page(
            request,
            self._runner,
            payment.saga,
            payment_resource,
            query,
            order_id=query.order_id,
        )

    @Operation(
        "GET",
        "/api/payments/{payment_id}",
        "Read a payment",
        {200: api.Payment},
        places=ONE,
        tagged=True,
    )
    async def get(self, request: web.Request) -> web.Response:
        key = request.match_info["payment_id"]
        stored = await owned(request, self._runner, payment.saga, key)
        return tagged_response(request, payment_resource(stored))

    @Operation(
        "POST",
        "/api/payments/{payment_id}/refund",
        "Give back the whole of what is left, or a part of it, once the order's saga is over",
        {200: api.Payment},
        who=STAFF_ONLY,
        body=api.RefundPayment,
        once=True,
        refuses={409: ("over_refund", "saga_running"), 422: ("wrong_currency",)},
        places=ONE,
        examples={
            "a part": {"amount": {"amount": 100, "currency": "USD"}, "reason": "a scratch"},
            "the rest": {"reason": "goodwill"},
        },
    )
    async def refund(self, request: web.Request) -> web.Response:
        wanted = await read_json(request, api.RefundPayment)
        amount = None
        if wanted.amount is not None:
            amount = Money(amount=wanted.amount.amount, currency=wanted.amount.currency)
        refund_id = operation_id(request)
        command = RefundPayment(refund_id=refund_id, amount=amount, reason=wanted.reason)
        key = request.match_info["payment_id"]
        await execute(request, self._runner, payment.saga, key, command, id=refund_id)
        refunded = await self._runner.until(
            payment.saga,
            key,
            lambda state: state is not None and refund_id not in state.pending,
            within_s=REFUND_WITHIN_S,
            stopping=request.app[STOPPING],
        )
        if refunded is None:
            raise unavailable("The refund is decided; the provider has yet to make it.")
        return json_response(payment_resource(refunded))


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_of(PaymentRoutes(context), once=context.idempotent)


def resources(runner: Runner, settings: ShopSettings) -> Mapping[type, object]:
    return {PaymentProvider: SandboxProvider(runner, charges)}


SERVICE = Service(
    name="payment",
    port=4,
    participant=payment,
    routes=routes,
    resources=resources,
    statuses={"not_found": 404, "wrong_currency": 422},
)
