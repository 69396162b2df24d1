"""The routes of shipments, the carrier's webhook among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from contracts.api import shipping as api
from participants.service import (
    Service,
    ServiceContext,
    execute,
    owned,
    owned_page,
)
from participants.settings import ShopSettings
from participants.shipping.carrier import (
    Carrier,
    CarrierDelivered,
    CarrierDispatched,
    CarrierInTransit,
    CarrierLost,
    SandboxCarrier,
)
from participants.shipping.domain import Shipment
from participants.shipping.steps import shipping
from participants.shipping.webhook import is_signed
from sagas import Query, Runner
from sagas.envelope import rfc3339
from sagas.web.auth import require
from sagas.web.body import json_response, read_body, read_json, read_query, without_query
from sagas.web.etag import tagged_response
from sagas.web.problems import not_found, unauthenticated

__all__ = ["SERVICE"]

_REPORTS = {
    "dispatched": CarrierDispatched,
    "in_transit": CarrierInTransit,
    "delivered": CarrierDelivered,
    "lost": CarrierLost,
}


def shipment_resource(shipment: Shipment) -> api.Shipment:
    return api.Shipment(
        shipment_id=shipment.shipment_id,
        order_id=shipment.order_id,
        status=shipment.status,
        tracking_number=shipment.tracking_number,
    )


class ShippingRoutes:
    def __init__(self, context: ServiceContext) -> None:
        self._runner = context.runner
        self._clock = context.clock
        self._secret = context.settings.carrier_secret

    async def list(self, request: web.Request) -> web.Response:
        require(request)
        query = read_query(request, api.ShipmentsQuery)
        return await owned_page(
            request,
            self._runner,
            shipping.saga,
            shipment_resource,
            query,
            order_id=query.order_id,
        )

    async def get(self, request: web.Request) -> web.Response:
        key = request.match_info["shipment_id"]
        stored = await owned(request, self._runner, shipping.saga, key)
        return tagged_response(request, shipment_resource(stored))

    async def track(self, request: web.Request) -> web.Response:
        """For anybody who has the number: status and times only."""
        number = request.match_info["tracking_number"]
        query = Query(where={"tracking_number": number}, limit=1)
        found = await self._runner.find(shipping.saga, query)
        if not found:
            raise not_found("There is no parcel with this tracking number.")
        stored: Shipment = found[0][1]
        tracking = api.Tracking(
            tracking_number=number,
            status=stored.status,
            history=[
                api.TrackingEntry(status=report.status, at=rfc3339(report.at))
                for report in stored.reports
            ],
        )
        return tagged_response(request, tracking)

    async def report(self, request: web.Request) -> web.Response:
        """The carrier's webhook: repeatable, in any order. What comes here is ``signed``."""
        event = await read_json(request, api.CarrierEvent)
        key = request.match_info["shipment_id"]
        stored = await self._runner.get(shipping.saga, key)
        if not isinstance(stored, Shipment):
            raise not_found("There is no such shipment.")
        at = event.occurred_at.timestamp()
        if not stored.knows(event.event_id):
            if event.status != "dispatched" and not stored.has_left:
                # The carrier never said so, but what moves has left: the pivot comes first.
                await self._execute(request, key, "dispatched", f"{event.event_id}/left", at)
            await self._execute(request, key, event.status, event.event_id, at)
            stored = await self._runner.get(shipping.saga, key)
        assert isinstance(stored, Shipment)
        return json_response(shipment_resource(stored), 202)

    def signed(self, handler: Handler) -> Handler:
        """The handler, for what the carrier signed.

        Outermost: an answer kept under an Idempotency-Key is for the carrier's eyes too.
        """

        async def checked(request: web.Request) -> web.StreamResponse:
            body = await read_body(request)
            header = request.headers.get("Carrier-Signature")
            if not self._secret or not is_signed(header, body, self._secret, self._clock.now()):
                raise unauthenticated("Carrier-Signature is wrong, absent or too old.")
            return await handler(request)

        return checked

    async def _execute(
        self, request: web.Request, key: str, status: str, event_id: str, at: float
    ) -> Any:
        report = _REPORTS[status](event_id=event_id, occurred_at=at)
        return await execute(request, self._runner, shipping.saga, key, report, id=event_id)


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    shipments = ShippingRoutes(context)
    return [
        web.get("/api/shipping", shipments.list),
        web.get("/api/shipping/track/{tracking_number}", without_query(shipments.track)),
        web.get("/api/shipping/{shipment_id}", without_query(shipments.get)),
        web.post(
            "/api/shipping/{shipment_id}/events",
            shipments.signed(context.idempotent(shipments.report, public=True)),
        ),
    ]


def resources(runner: Runner, settings: ShopSettings) -> Mapping[type, object]:
    return {Carrier: SandboxCarrier(runner, settings.carrier_step_s)}


SERVICE = Service(
    name="shipping",
    port=6,
    participant=shipping,
    routes=routes,
    resources=resources,
    statuses={"not_found": 404},
)
