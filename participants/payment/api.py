"""The routes of payments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from contracts.api import payments as api
from contracts.values import Money
from participants.payment.domain import Payment
from participants.payment.provider import PaymentProvider, SandboxProvider
from participants.payment.steps import RefundPayment, charges, payment
from participants.service import (
    STAFF,
    Service,
    ServiceContext,
    execute,
    owned,
    owned_page,
)
from participants.settings import ShopSettings
from sagas import Runner
from sagas.web.auth import require
from sagas.web.body import json_response, read_json, read_query, without_query
from sagas.web.context import operation_id
from sagas.web.etag import tagged_response
from sagas.web.problems import unavailable
from sagas.web.state import STOPPING

__all__ = ["SERVICE"]

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

    async def list(self, request: web.Request) -> web.Response:
        require(request)
        query = read_query(request, api.PaymentsQuery)
        return await owned_page(
            request,
            self._runner,
            payment.saga,
            payment_resource,
            query,
            order_id=query.order_id,
        )

    async def get(self, request: web.Request) -> web.Response:
        key = request.match_info["payment_id"]
        stored = await owned(request, self._runner, payment.saga, key)
        return tagged_response(request, payment_resource(stored))

    async def refund(self, request: web.Request) -> web.Response:
        require(request, STAFF)
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
    payments = PaymentRoutes(context)
    return [
        web.get("/api/payments", payments.list),
        web.get("/api/payments/{payment_id}", without_query(payments.get)),
        web.post(
            "/api/payments/{payment_id}/refund", context.idempotent(payments.refund, role=STAFF)
        ),
    ]


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
