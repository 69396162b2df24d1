"""From a request to the service behind it and back: which one, and which headers may pass."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.addresses import share_of
from gateway.admission import CLIENT
from gateway.calls import BadUpstream, UpstreamRequest, UpstreamResponse, now_s
from gateway.passwords import HASHING, PasswordLimits
from gateway.relay import Pace, relay
from gateway.settings import GatewaySettings, UpstreamLimits
from gateway.upstreams import Upstreams
from sagas.web.body import read_body
from sagas.web.context import context_of
from sagas.web.deadline import time_left_s
from sagas.web.prefer import preferred_wait_s
from sagas.web.problems import not_found

__all__ = ["ASYNCAPI", "ROUTES", "SERVICES", "proxy_to", "service_of"]

#: The segment behind ``/api/`` and the service that answers there.
ROUTES: Mapping[str, str] = {
    "products": "product",
    "orders": "order",
    "carts": "order",
    "customers": "customer",
    "sessions": "customer",
    "payments": "payment",
    "inventory": "inventory",
    "shipping": "shipping",
    "sagas": "tracker",
    "dead-letters": "tracker",
    "insight": "tracker",
}

SERVICES = tuple(sorted(set(ROUTES.values())))

#: Who watches all events also tells which there are.
ASYNCAPI = "/asyncapi.json"

#: How the path of an event stream ends.
EVENTS = "/events"

#: Where an order is placed, and ``Prefer: wait`` is offered.
_WAITS = re.compile(r"/api/orders|/api/carts/[^/]+/checkout")

# RFC 9110, section 7.6.1: these speak about one connection, not about the message.
_HOP_BY_HOP = (
    "Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)
# Made anew for the next hop. Forwarding headers are: a client could claim any address in them.
_OURS = (
    "Host",
    "Content-Length",
    "Expect",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Request-Id",
    "traceparent",
)
_HOST = re.compile(r"[A-Za-z0-9.\[\]:-]{1,255}")


def service_of(path: str) -> str | None:
    """The service behind a raw path."""
    if path == ASYNCAPI:
        return "tracker"
    parts = path.split("/", 3)
    return ROUTES.get(parts[2]) if len(parts) > 2 and parts[1] == "api" else None


def proxy_to(upstreams: Upstreams, settings: GatewaySettings) -> Handler:
    """A handler that passes each request on to its service."""
    passwords = PasswordLimits(settings)

    async def proxy(request: web.Request) -> web.StreamResponse:
        service = service_of(request.rel_url.raw_path)
        if service is None:
            raise not_found()
        context_of(request).route = service
        body = await read_body(request)
        limits = settings.limits_of(service)
        asked = _asked(request, service, body, limits)
        route = (request.method, request.rel_url.raw_path)
        if route in HASHING:
            answer = await passwords.run(route, asked.address, lambda: upstreams.call(asked))
        else:
            answer = await upstreams.call(asked)
        try:
            if answer.status >= 500 and not answer.is_problem:
                # What stands in between, or a framework's own page: no client can read it, and it
                # may tell what is nobody's business.
                raise BadUpstream(service)
            headers = _end_to_end(answer.headers)
            if answer.rest is None:
                return _whole(request, answer, headers)
            pace = Pace(asked.left_s, limits.stream_limit_s, settings.reader_timeout_s)
            return await relay(request, answer, answer.rest, headers, pace)
        finally:
            answer.close()

    return proxy


def _asked(
    request: web.Request, service: str, body: bytes, limits: UpstreamLimits
) -> UpstreamRequest:
    """What the service is asked, and how long it may take; who asks to wait gets that time too."""
    headers = _onward(request)
    wait_s = silence_s = 0.0
    if request.method == "POST" and _WAITS.fullmatch(request.rel_url.raw_path):
        wait_s = preferred_wait_s(request.headers) or 0.0
        silence_s = limits.read_timeout_s + wait_s if wait_s else 0.0
    else:
        # What is not offered takes no long place; so nobody behind may understand it either.
        headers.popall("Prefer", None)
    if request.method == "GET" and request.rel_url.raw_path.endswith(EVENTS):
        is_stream = "text/event-stream" in request.headers.get("Accept", "")
        silence_s = limits.stream_silence_s if is_stream else 0.0
    limit_s = limits.upstream_timeout_s + wait_s
    patience_s = min(limit_s, limits.read_timeout_s + wait_s)
    left_s = time_left_s(request)
    principal = context_of(request).principal
    address = share_of(request[CLIENT])
    return UpstreamRequest(
        service=service,
        method=request.method,
        target=request.rel_url.raw_path_qs,
        headers=headers,
        body=body,
        deadline=now_s() + (limit_s if left_s is None else min(limit_s, left_s)),
        client=address if principal is None else f"id {principal.subject}",
        address=address,
        silence_s=silence_s,
        is_long=silence_s > 0,
        is_hurried=left_s is not None and left_s < patience_s,
    )


# --------------------------------------------------------------------------------------- headers


def _end_to_end(headers: CIMultiDictProxy[str] | CIMultiDict[str]) -> CIMultiDict[str]:
    """Without what belongs to the connection, also what ``Connection`` itself names."""
    kept = CIMultiDict(headers)
    for line in headers.getall("Connection", ()):
        for name in line.split(","):
            kept.popall(name.strip(), None)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def _onward(request: web.Request) -> CIMultiDict[str]:
    headers = _end_to_end(request.headers)
    for name in _OURS:
        headers.popall(name, None)
    context = context_of(request)
    headers["X-Request-Id"] = context.request_id
    headers["traceparent"] = context.traceparent
    client = request[CLIENT]
    node = f'"[{client}]"' if ":" in client else client
    forwarded = f"for={node};proto={request.scheme}"
    host = request.headers.get("Host", "")
    if _HOST.fullmatch(host):
        forwarded += f';host="{host}"'
        headers["X-Forwarded-Host"] = host
    headers["Forwarded"] = forwarded
    headers["X-Forwarded-For"] = client
    headers["X-Forwarded-Proto"] = request.scheme
    return headers


# --------------------------------------------------------------------------------------- answers


def _whole(
    request: web.Request, answer: UpstreamResponse, headers: CIMultiDict[str]
) -> web.Response:
    if request.method != "HEAD":  # There it tells the length of the body that is not sent.
        headers.popall("Content-Length", None)
    return web.Response(
        status=answer.status, reason=answer.reason, headers=headers, body=answer.body
    )
