"""``/openapi.json`` of the whole: the gateway's own routes, and what the services say."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import orjson
from aiohttp import web
from multidict import CIMultiDict

from gateway.admission import EXEMPT
from gateway.calls import BadUpstream, UpstreamRequest, now_s
from gateway.routes import SERVICES, service_of
from gateway.settings import GatewaySettings
from gateway.upstreams import Upstreams
from sagas.web.body import json_response
from sagas.web.context import context_of
from sagas.web.documents import add_docs
from sagas.web.openapi import CODES, Codes, document, refusals
from sagas.web.operations import ANYBODY, Operation, described, operations
from sagas.web.problems import Problem

__all__ = ["add_documents", "composed"]

#: For so long a service is not asked again: a new version of it is seen after that.
FRESH_S: Final = 30.0
FAILED_S: Final = 1.0
#: What the gateway may answer by itself, whatever the service.
OURS: Final = {
    429: ("rate_limited",),
    502: ("bad_upstream",),
    503: ("circuit_open", "overloaded"),
    504: ("upstream_timeout",),
}
_LIMITS: Final = {
    "RateLimit": "What is left of the client's rate (IETF draft 11).",
    "RateLimit-Policy": "The client's rate (IETF draft 11).",
}

Document = dict[str, Any]

_KINDS: Final = ("schemas", "responses", "headers", "securitySchemes")
_SCHEMA: Final = "#/components/schemas/"


class Documents:
    """Asks each service for its document; the last one it gave stands in while it is away."""

    def __init__(
        self, upstreams: Upstreams, settings: GatewaySettings, own: Callable[[], Document]
    ) -> None:
        self._upstreams = upstreams
        self._settings = settings
        self._own = own
        self._asking = asyncio.Lock()
        self._ask_again_at = -math.inf
        self._failed: Problem | None = None
        self._of: dict[str, Document] = {}
        self._made = b""

    async def __call__(self, request: web.Request) -> bytes:
        """The whole document. Raises the problem of a service that has never given its own."""
        async with self._asking:
            if now_s() >= self._ask_again_at:
                await self._make(request)
            if self._failed is not None:
                raise self._failed
            return self._made

    async def _make(self, request: web.Request) -> None:
        try:
            await asyncio.gather(*(self._renew(name, request) for name in SERVICES))
        except Problem as problem:
            # Whoever waited behind this one gets the same answer, and need not wait as long again.
            self._failed, self._ask_again_at = problem, now_s() + FAILED_S
            return
        self._made = orjson.dumps(composed(self._own(), self._of))
        self._failed, self._ask_again_at = None, now_s() + FRESH_S

    async def _renew(self, service: str, request: web.Request) -> None:
        try:
            self._of[service] = await self._ask(service, request)
        except Problem:
            if service not in self._of:
                raise

    async def _ask(self, service: str, request: web.Request) -> Document:
        context = context_of(request)
        headers = CIMultiDict(
            {"X-Request-Id": context.request_id, "traceparent": context.traceparent}
        )
        deadline = now_s() + self._settings.limits_of(service).upstream_timeout_s
        asked = UpstreamRequest(service, "GET", "/openapi.json", headers, b"", deadline)
        answer = await self._upstreams.call(asked)
        try:
            if answer.status != 200 or answer.rest is not None:
                raise BadUpstream(service)
            found = orjson.loads(answer.body)
            composed(self._own(), {service: found})  # as every reader of it will want
            return cast(Document, found)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise BadUpstream(service) from None
        finally:
            answer.close()


def add_documents(app: web.Application, upstreams: Upstreams, settings: GatewaySettings) -> None:
    """Add the route, and the page that shows it."""

    def own() -> Document:
        title = "The shop"
        text = "All that the shop answers to, through its gateway. Errors are RFC 9457 problems."
        return document(title, text, operations(app.router.routes()))

    documents = Documents(upstreams, settings, own)

    @Operation(
        "GET",
        "/openapi.json",
        "What the shop answers to (OpenAPI 3.1)",
        {200: dict[str, Any]},
        who=ANYBODY,
        always=True,
        refuses={status: OURS[status] for status in (502, 503, 504)},
    )
    async def openapi(request: web.Request) -> web.Response:
        return json_response(await documents(request), headers={"Cache-Control": "no-cache"})

    app.router.add_routes([described(openapi)])
    add_docs(app)


def composed(own: Document, services: Mapping[str, Document]) -> Document:
    """One document: of each service what the gateway hands on to it, and what it adds itself."""
    parts: dict[str, dict[str, Any]] = {kind: dict(own["components"][kind]) for kind in _KINDS}
    paths: dict[str, dict[str, Any]] = {}
    for path, methods in own["paths"].items():
        added = {} if path in EXEMPT else {429: OURS[429]}
        paths[path] = _with(methods, added, parts)
    for service, said in sorted(services.items()):
        apart = _apart(service, said, parts["schemas"])
        for kind in _KINDS:
            parts[kind] |= apart["components"].get(kind, {})
        for path, methods in apart["paths"].items():
            if service_of(path) == service:
                paths[path] = _with(methods, OURS, parts)
    for name, text in _LIMITS.items():
        parts["headers"][name] = {"description": text, "schema": {"type": "string"}}
    return {**own, "paths": paths, "components": parts}


def _with(
    methods: Mapping[str, Any], added: Codes, parts: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """The operations of a path, which may also be refused with these codes."""
    found = {}
    for method, said in methods.items():
        codes = {int(status): tuple(words) for status, words in said[CODES].items()}
        for status, words in added.items():
            codes[status] = tuple(sorted({*codes.get(status, ()), *words}))
        refused, components = refusals(codes)
        parts["responses"] |= components
        shown = {str(status): list(words) for status, words in codes.items()}
        responses = {**said["responses"], **refused}
        if added:
            responses = {status: _limited(each) for status, each in responses.items()}
        found[method] = {**said, "responses": responses, CODES: shown}
    return found


def _limited(response: dict[str, Any]) -> dict[str, Any]:
    """An answer as the rate limiter lets it through."""
    if "$ref" in response:
        return response
    headers = {name: {"$ref": f"#/components/headers/{name}"} for name in _LIMITS}
    return {**response, "headers": {**response.get("headers", {}), **headers}}


def _apart(service: str, said: Document, taken: Mapping[str, Any]) -> Document:
    """A service's document, where a name of a schema that means something else here is another."""
    schemas = said["components"]["schemas"]
    clashing = [name for name in schemas if name in taken and taken[name] != schemas[name]]
    text = orjson.dumps(said).decode()
    for name in clashing:
        text = text.replace(f'"{_SCHEMA}{name}"', f'"{_SCHEMA}{service}.{name}"')
    found: Document = orjson.loads(text)
    for name in clashing:
        kept = found["components"]["schemas"]
        kept[f"{service}.{name}"] = kept.pop(name)
    return found
