"""The routes of shipments, the carrier's webhook among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from contracts.api import shipping as api
from contracts.api.base import Page
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
from sagas.web.body import json_response, read_body, read_json, read_query
from sagas.web.etag import tagged_response
from sagas.web.operations import ANYBODY, Operation, Who, routes_of
from sagas.web.problems import not_found, unauthenticated

__all__ = ["SERVICE", "ShippingRoutes"]

ONE = {"shipment_id": "0198c1de-0000-7000-8000-000000000001"}
CARRIER = Who(
    "carrier",
    shown={
        "type": "apiKey",
        "in": "header",
        "name": "Carrier-Signature",
        "description": 't=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">; good for 300 s.',
    },
)

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

    @Operation(
        "GET",
        "/api/shipping",
        "Look through your shipments, newest first; staff see everyone's",
        {200: Page[api.Shipment]},
        query=api.ShipmentsQuery,
        sample={"limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, api.ShipmentsQuery)
        return await owned_page(
            request,
            self._runner,
            shipping.saga,
            shipment_resource,
            query,
            order_id=query.order_id,
        )

    @Operation(
        "GET",
        "/api/shipping/{shipment_id}",
        "Read a shipment",
        {200: api.Shipment},
        places=ONE,
        tagged=True,
    )
    async def get(self, request: web.Request) -> web.Response:
        key = request.match_info["shipment_id"]
        stored = await owned(request, self._runner, shipping.saga, key)
        return tagged_response(request, shipment_resource(stored))

    @Operation(
        "GET",
        "/api/shipping/track/{tracking_number}",
        "Follow a parcel by its tracking number: status and times only",
        {200: api.Tracking},
        who=ANYBODY,
        places={"tracking_number": "TRK-0198c1de00007000"},
        tagged=True,
    )
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

    @Operation(
        "POST",
        "/api/shipping/{shipment_id}/events",
        "Report what the carrier did with a parcel; repeatable, in any order",
        {202: api.Shipment},
        who=CARRIER,
        body=api.CarrierEvent,
        once=True,
        places=ONE,
        examples={
            "handed over": {
                "event_id": "carrier-1",
                "status": "dispatched",
                "occurred_at": "2030-01-31T12:00:00Z",
            },
            "there": {
                "event_id": "carrier-2",
                "status": "delivered",
                "occurred_at": "2030-02-01T09:30:00+01:00",
            },
        },
    )
    async def report(self, request: web.Request) -> web.Response:
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

    async def check_signature(self, request: web.Request) -> None:
        """Asked first: an answer kept under an Idempotency-Key is for the carrier's eyes too."""
        body = await read_body(request)
        header = request.headers.get("Carrier-Signature")
        if not self._secret or not is_signed(header, body, self._secret, self._clock.now()):
            raise unauthenticated("Carrier-Signature is wrong, absent or too old.")

    async def _execute(
        self, request: web.Request, key: str, status: str, event_id: str, at: float
    ) -> Any:
        report = _REPORTS[status](event_id=event_id, occurred_at=at)
        return await execute(request, self._runner, shipping.saga, key, report, id=event_id)


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    shipments = ShippingRoutes(context)
    guards = {"carrier": shipments.check_signature}
    return routes_of(shipments, once=context.idempotent, guards=guards)


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
