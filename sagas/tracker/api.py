"""The tracker over HTTP: the events there are, sagas, their live streams, and dead letters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import orjson
from aiohttp import web

from sagas.asyncapi import asyncapi
from sagas.errors import CommandRefused
from sagas.tracker.letters_api import (
    OPERATOR,
    DeadLetterRoutes,
    acting,
    check_number,
    missing,
)
from sagas.tracker.requests import (
    CancelBody,
    EventsQuery,
    SagasQuery,
)
from sagas.tracker.resources import event_resource, saga_resource, version_of
from sagas.tracker.shapes import (
    EventPage,
    Graph,
    ListedSaga,
    Saga,
    SagaPage,
)
from sagas.tracker.timeline import in_order
from sagas.tracker.tracker import Tracker
from sagas.tracker.view import SagaView
from sagas.web.auth import require
from sagas.web.body import json_response, read_json, read_query
from sagas.web.etag import etag_of, not_modified
from sagas.web.idempotency import Idempotency
from sagas.web.operations import ANYBODY, Content, Operation, routes_of
from sagas.web.pages import after_record, decode_cursor, page
from sagas.web.problems import not_found
from sagas.web.sse import StreamEvent, event_stream

__all__ = ["routes"]

#: Order names in cursors: one made for another list is refused.
SAGAS, EVENTS = "sagas", "events"
ONE_SAGA = "/api/sagas/{saga_id}"
A_SAGA = {"saga_id": "0198c1de-0000-7000-8000-000000000001"}
LAST_EVENT_ID = {
    "Last-Event-ID": {
        "description": "Of a stream: go on behind this event.",
        "schema": {"type": "string"},
    }
}


def routes(tracker: Tracker, idempotent: Idempotency) -> Iterable[web.RouteDef]:
    """The routes of one tracker; ``idempotent`` wraps those that act."""
    roles = {"operator": tracker.choreography.operator}
    return [
        *routes_of(_Events(tracker)),
        *routes_of(_Sagas(tracker), once=idempotent, roles=roles),
        *routes_of(DeadLetterRoutes(tracker), once=idempotent, roles=roles),
    ]


class _Events:
    def __init__(self, tracker: Tracker) -> None:
        self._choreography = tracker.choreography

    @Operation(
        "GET",
        "/asyncapi.json",
        "Which events there are, who says them and who listens (AsyncAPI 3.0)",
        {200: dict[str, Any]},
        who=ANYBODY,
    )
    async def document(self, _request: web.Request) -> web.Response:
        return json_response(asyncapi(self._choreography), headers={"Cache-Control": "no-cache"})


class _Sagas:
    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._operator = tracker.choreography.operator
        self._graph: bytes | None = None

    @Operation(
        "GET",
        "/api/sagas",
        "Look through the sagas, newest first, without their events",
        {200: SagaPage},
        who=OPERATOR,
        query=SagasQuery,
        sample={"status": "running", "stuck": "false", "since": "2020-01-31T12:00:00Z"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, SagasQuery)
        after = decode_cursor(query.cursor, SAGAS)
        check_number(after)
        if query.type not in (None, self._tracker.plan.name):
            return json_response({"items": [], "next_cursor": None})
        asked = {"status": query.status, "stuck": query.stuck}
        found = await self._tracker.find_sagas(
            {name: value for name, value in asked.items() if value is not None},
            since=0.0 if query.since is None else query.since,
            after=after,
            limit=query.limit + 1,
        )
        place = after_record("started_at")
        return json_response(
            page(found, query.limit, lambda pair: place(pair[0]), self._tracker.listed, SAGAS)
        )

    # Before {saga_id}, which would take the word for an id.
    @Operation(
        "GET",
        "/api/sagas/graph",
        "See the flow that every saga follows, generated from the code",
        {200: Graph},
        who=ANYBODY,
    )
    async def graph(self, request: web.Request) -> web.Response:
        if self._graph is None:
            self._graph = orjson.dumps(self._tracker.graph())
        return json_response(self._graph)

    @Operation(
        "GET",
        ONE_SAGA,
        "Read a saga: yours, or anybody's for staff",
        {200: Saga},
        places=A_SAGA,
        tagged=True,
    )
    async def read(self, request: web.Request) -> web.Response:
        saga_id, view, staff = await self._visible(request)
        # Staff see more of it than its owner does, so theirs is another version.
        version = version_of(view) + (".s" if staff else "")
        if (unchanged := not_modified(request, version)) is not None:
            return unchanged
        resource = saga_resource(saga_id, view, self._tracker.plan, staff=staff, events=True)
        return json_response(resource, headers={"ETag": etag_of(version)})

    @Operation(
        "GET",
        f"{ONE_SAGA}/events",
        "Read a saga's events, or hear them as they happen (Accept: text/event-stream)",
        {200: Content({"application/json": EventPage, "text/event-stream": str})},
        query=EventsQuery,
        sample={"limit": "3"},
        places=A_SAGA,
        headers=LAST_EVENT_ID,
        refuses={503: ("overloaded",)},
    )
    async def events(self, request: web.Request) -> web.StreamResponse:
        saga_id, view, staff = await self._visible(request)
        query = read_query(request, EventsQuery)
        if "text/event-stream" in request.headers.get("Accept", ""):
            last = request.headers.get("Last-Event-ID")
            return await event_stream(request, self._stream(saga_id, last, staff))
        timeline = in_order(view.entries)
        start = decode_cursor(query.cursor, EVENTS)
        known = [entry.id for entry in timeline]
        first = known.index(start[1]) + 1 if start is not None and start[1] in known else 0
        return json_response(
            page(
                timeline[first : first + query.limit + 1],
                query.limit,
                lambda entry: (None, entry.id),
                lambda entry: event_resource(entry, staff=staff),
                EVENTS,
            )
        )

    async def _stream(
        self, saga_id: str, last: str | None, staff: bool
    ) -> AsyncIterator[StreamEvent]:
        events = self._tracker.events(saga_id, after=last, staff=staff)
        try:
            async for event in events:
                yield event["event_id"], event["type"], orjson.dumps(event)
        finally:
            await events.aclose()

    @Operation(
        "POST",
        f"{ONE_SAGA}/cancel",
        "Ask for a saga to be cancelled, as far as it still can be",
        {202: ListedSaga},
        who=OPERATOR,
        body=CancelBody,
        once=True,
        refuses={409: ("too_late_to_cancel",)},
        places=A_SAGA,
        examples={"why": {"reason": "asked for by telephone"}},
    )
    async def cancel(self, request: web.Request) -> web.Response:
        saga_id = request.match_info["saga_id"]
        body = await read_json(request, CancelBody)
        try:
            await self._tracker.cancel(
                saga_id, reason=body.reason, **acting(request, self._operator)
            )
        except CommandRefused as refused:
            raise missing(refused) from None
        return await self._accepted(saga_id)

    async def _accepted(self, saga_id: str) -> web.Response:
        view = await self._tracker.view(saga_id)
        assert view is not None  # it was just cancelled
        resource = saga_resource(saga_id, view, self._tracker.plan, staff=True, events=False)
        return json_response(resource, 202, {"Location": f"/api/sagas/{saga_id}"})

    async def _visible(self, request: web.Request) -> tuple[str, SagaView, bool]:
        """The saga that is asked for, if its owner or staff ask: for others there is none."""
        principal = require(request)
        staff = principal.role == self._operator
        saga_id = request.match_info["saga_id"]
        view = await self._tracker.view_soon(saga_id)
        if view is None or not (staff or view.owner == principal.subject):
            raise not_found("There is no such saga.")
        return saga_id, view, staff
