"""From a request to the service behind it and back: which one, and which headers may pass."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.clients import UpstreamRequest, UpstreamResponse
from gateway.resilience import Call
from sagas.web.body import read_body
from sagas.web.context import context_of
from sagas.web.prefer import preferred_wait_s
from sagas.web.problems import not_found
from sagas.web.state import STOPPING, STREAMS

__all__ = ["ROUTES", "proxy_to", "service_of"]

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
}

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
    parts = path.split("/", 3)
    return ROUTES.get(parts[2]) if len(parts) > 2 and parts[1] == "api" else None


def proxy_to(call: Call, timeout_s: float) -> Handler:
    """A handler that passes each request through ``call``. A wished wait adds to its time."""

    async def proxy(request: web.Request) -> web.StreamResponse:
        service = service_of(request.rel_url.raw_path)
        if service is None:
            raise not_found()
        context = context_of(request)
        context.route = service
        body = await read_body(request)
        upstream = UpstreamRequest(
            service=service,
            method=request.method,
            target=request.rel_url.raw_path_qs,
            headers=_onward(request),
            body=body,
            limit_s=timeout_s + (preferred_wait_s(request.headers) or 0),
            principal=context.principal,
        )
        answer = await call(upstream)
        if answer.rest is None:
            return _whole(request, answer)
        try:
            return await _relay(request, answer, answer.rest, upstream.limit_s)
        finally:
            answer.rest.close()

    return proxy


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
    client = request.remote or "unknown"
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


def _whole(request: web.Request, answer: UpstreamResponse) -> web.Response:
    headers = _end_to_end(answer.headers)
    if request.method != "HEAD":  # There it tells the length of the body that is not sent.
        headers.popall("Content-Length", None)
    return web.Response(
        status=answer.status, reason=answer.reason, headers=headers, body=answer.body
    )


async def _relay(
    request: web.Request, answer: UpstreamResponse, rest: aiohttp.ClientResponse, limit_s: float
) -> web.StreamResponse:
    """Pass on each piece as it comes; event streams for as long as both ends like."""
    response = web.StreamResponse(
        status=answer.status, reason=answer.reason, headers=_end_to_end(answer.headers)
    )
    endless = rest.content_type == "text/event-stream"
    stopping = request.app[STOPPING]
    stop = asyncio.ensure_future(stopping.wait())
    stop.add_done_callback(lambda _task: rest.close())
    try:
        with request.app[STREAMS].one_more():
            await response.prepare(request)
            async with asyncio.timeout(None if endless else limit_s):
                async for chunk in rest.content.iter_any():
                    await response.write(chunk)
    except (aiohttp.ClientError, TimeoutError) as error:
        if not (endless and stopping.is_set()):
            # Half an answer is out: only a broken connection tells the client that it is one.
            raise ConnectionResetError("the upstream broke off amid its answer") from error
    finally:
        stop.cancel()
    return response
