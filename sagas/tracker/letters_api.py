"""Dead letters over HTTP: who may see them, and what operators may do about them."""

from __future__ import annotations

from aiohttp import web

from sagas.errors import CommandRefused
from sagas.tracker.dead_letters import dead_letter_resource
from sagas.tracker.requests import (
    BulkReplay,
    DeadLettersQuery,
    DiscardQuery,
    ReplayBody,
)
from sagas.tracker.shapes import (
    DeadLetter,
    DeadLetterPage,
    Replays,
)
from sagas.tracker.tracker import Tracker
from sagas.web.auth import require
from sagas.web.body import json_response, read_body, read_json, read_query
from sagas.web.context import context_of, operation_id
from sagas.web.etag import etag_of, not_modified
from sagas.web.operations import CALLER, Operation, Who
from sagas.web.pages import after_record, decode_cursor, page
from sagas.web.problems import not_found, parameter_error, validation_failed

__all__ = ["OPERATOR", "DeadLetterRoutes", "acting", "check_number", "missing"]

#: Of cursors: one made for another list is refused.
LETTERS = "dead-letters"
#: What is recorded when an operator replays a single letter without saying why.
NO_REASON = "no reason given"

ONE_LETTER = "/api/dead-letters/{id}"
A_LETTER = {"id": "0198c1de-0000-7000-8000-000000000002"}
#: Which role that is, the choreography says.
OPERATOR = Who("bearer", "operator", CALLER.shown)


class DeadLetterRoutes:
    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._operator = tracker.choreography.operator

    @Operation(
        "GET",
        "/api/dead-letters",
        "Look through the messages that could not be processed, newest first",
        {200: DeadLetterPage},
        who=OPERATOR,
        query=DeadLettersQuery,
        sample={"status": "open", "limit": "5"},
    )
    async def list(self, request: web.Request) -> web.Response:
        query = read_query(request, DeadLettersQuery)
        after = decode_cursor(query.cursor, LETTERS)
        check_number(after)
        asked = {"status": query.status, "participant": query.participant, "cause": query.cause}
        found = await self._tracker.find_dead_letters(
            {name: value for name, value in asked.items() if value is not None},
            after=after,
            limit=query.limit + 1,
        )
        place = after_record("occurred_at")
        return json_response(
            page(
                found,
                query.limit,
                lambda pair: place(pair[0]),
                lambda pair: dead_letter_resource(pair[0].key, pair[1]),
                LETTERS,
            )
        )

    @Operation(
        "GET",
        ONE_LETTER,
        "Read a dead letter, its stack, and what was done about it",
        {200: DeadLetter},
        who=OPERATOR,
        places=A_LETTER,
        tagged=True,
    )
    async def read(self, request: web.Request) -> web.Response:
        resource = await self._resource(request)
        version = f"{resource['status']}.{len(resource['actions'])}"
        if (unchanged := not_modified(request, version)) is not None:
            return unchanged
        return json_response(resource, headers={"ETag": etag_of(version)})

    @Operation(
        "POST",
        f"{ONE_LETTER}/replay",
        "Have a dead letter processed again",
        {202: DeadLetter},
        who=OPERATOR,
        body=ReplayBody,
        body_optional=True,
        once=True,
        refuses={409: ("already_resolved",)},
        places=A_LETTER,
        examples={"why": {"reason": "fixed in 1.2"}},
    )
    async def replay(self, request: web.Request) -> web.Response:
        empty = not await read_body(request)
        reason = None if empty else (await read_json(request, ReplayBody)).reason
        try:
            await self._tracker.replay(
                request.match_info["id"],
                reason=reason or NO_REASON,
                **acting(request, self._operator),
            )
        except CommandRefused as refused:
            raise missing(refused) from None
        return json_response(await self._resource(request), 202)

    @Operation(
        "POST",
        "/api/dead-letters/replay",
        "Have all open dead letters processed again that match",
        {202: Replays},
        who=OPERATOR,
        body=BulkReplay,
        once=True,
        examples={"of one cause": {"cause": "bug", "reason": "fixed in 1.2"}},
    )
    async def replay_all(self, request: web.Request) -> web.Response:
        body = await read_json(request, BulkReplay)
        asked = {"participant": body.participant, "cause": body.cause}
        count = await self._tracker.replay_all(
            {name: value for name, value in asked.items() if value is not None},
            reason=body.reason,
            **acting(request, self._operator),
        )
        return json_response({"replays": count}, 202)

    @Operation(
        "DELETE",
        ONE_LETTER,
        "Give a dead letter up: what it held back goes on",
        {204: None},
        who=OPERATOR,
        query=DiscardQuery,
        refuses={409: ("already_resolved",)},
        places=A_LETTER,
        sample={"reason": "a forgery"},
    )
    async def discard(self, request: web.Request) -> web.Response:
        by = require(request, self._operator).subject
        query = read_query(request, DiscardQuery)
        context = context_of(request)
        try:
            await self._tracker.discard(
                request.match_info["id"],
                by=by,
                reason=query.reason,
                request_id=context.request_id,
                traceparent=context.traceparent,
            )
        except CommandRefused as refused:
            raise missing(refused) from None
        return web.Response(status=204)

    async def _resource(self, request: web.Request) -> DeadLetter:
        resource = await self._tracker.dead_letter(request.match_info["id"])
        if resource is None:
            raise not_found("There is no such dead letter.")
        return resource


def acting(request: web.Request, operator: str) -> dict[str, str]:
    """Who acts, and what carries the request into the events."""
    context = context_of(request)
    return {
        "by": require(request, operator).subject,
        "id": operation_id(request),
        "request_id": context.request_id,
        "traceparent": context.traceparent,
    }


def missing(refused: CommandRefused) -> Exception:
    return not_found(refused.detail) if refused.code == "not_found" else refused


def check_number(after: tuple[object, str] | None) -> None:
    """These lists are sorted by a moment: another cursor is none of theirs."""
    if after is not None and not isinstance(after[0], float | int):
        raise validation_failed(parameter_error("cursor", "must be a next_cursor of this list"))
