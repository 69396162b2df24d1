"""The application all our HTTP servers start from: one function around every handler."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from sagas.logs import REQUESTS
from sagas.ports import Ids
from sagas.web.auth import Tokens
from sagas.web.context import CONTEXT, RequestContext, new_context
from sagas.web.deadline import in_time, time_left_s
from sagas.web.framing import check_framing, make_safe
from sagas.web.metrics import Metrics
from sagas.web.problems import problem_of, problem_response, too_large, unavailable
from sagas.web.server import RunningServer, serve
from sagas.web.state import IDS, OPENED, SETTINGS, STOPPING, STREAMS, Streams, WebSettings

__all__ = ["Admit", "RunningServer", "WebSettings", "make_app", "serve"]

#: Raises a ``Problem`` for a request that is not let in.
Admit = Callable[[web.Request], Awaitable[None]]

#: A label must come from a small set, and the method of an unknown route is the caller's choice.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What answers also while the rest is not open yet.
_ALWAYS = ("/health/", "/metrics", "/openapi.json", "/docs")
_PROBES = ("/health/", "/metrics")

log = logging.getLogger(REQUESTS)


def make_app(
    ids: Ids,
    *,
    tokens: Tokens | None = None,
    metrics: Metrics | None = None,
    settings: WebSettings | None = None,
    admit: Admit | None = None,
) -> web.Application:
    """An application without routes; add them to its router, then ``serve`` it.

    ``tokens`` checks ``Authorization`` headers; without it every caller is anonymous. ``admit`` is
    asked once it is known who calls, also for routes that are not there and tokens that are bad.
    """
    settings = settings or WebSettings()
    opened = asyncio.Event()
    opened.set()
    app = web.Application(
        middlewares=[_edge(ids, tokens, metrics or Metrics(), settings, opened, admit)],
        client_max_size=settings.body_limit_bytes,
    )
    app[SETTINGS] = settings
    app[IDS] = ids
    app[OPENED] = opened
    app[STOPPING] = asyncio.Event()
    app[STREAMS] = Streams(settings.max_streams)
    app.on_response_prepare.append(_complete_headers)
    app.on_shutdown.append(_announce_stop)
    return app


def _edge(
    ids: Ids,
    tokens: Tokens | None,
    metrics: Metrics,
    settings: WebSettings,
    opened: asyncio.Event,
    admit: Admit | None,
) -> Middleware:
    """Request id, trace, size, caller, errors, metrics: one coroutine, because it costs each."""
    limit = settings.body_limit_bytes
    requests = metrics.counter(
        "http_requests_total", "Requests answered.", ("route", "method", "status")
    )
    seconds = metrics.histogram(
        "http_request_seconds", "From the request's headers to the answer.", ("route",)
    )

    @web.middleware
    async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = perf_counter()
        headers = request.headers
        context = new_context(headers.get("X-Request-Id"), headers.get("traceparent"), ids)
        request[CONTEXT] = context
        try:
            if not opened.is_set() and not request.path.startswith(_ALWAYS):
                raise unavailable()
            check_framing(request, settings)
            try:
                authorization = headers.getall("Authorization", None)
                if tokens is not None and authorization is not None:
                    context.principal = tokens.authenticate(*authorization)
            finally:
                if admit is not None:
                    await admit(request)
            length = request.content_length
            if length is not None and length > limit:
                raise too_large(limit)
            left_s = time_left_s(request)
            if left_s is None:
                response = await handler(request)
            else:
                response = await in_time(handler, request, context, left_s)
        except Exception as error:
            if request.writer.output_size > 0:
                raise  # The answer has begun: only closing the connection tells.
            problem = problem_of(error, settings.statuses, context.request_id)
            response = problem_response(problem, request)
            # Its traceback holds this frame, and this frame the problem: a ring, with the request's
            # body in it, that would stay until the collector comes, and that one comes rarely.
            problem.__traceback__ = error.__traceback__ = None
        if "Upgrade" in headers:
            response.force_close()  # Ignored; but what comes next may be in another protocol.
        took = perf_counter() - started
        route, method = _labels(request, context)
        requests.add(route, method, str(response.status))
        seconds.observe(took, route)
        # Probes and scrapers come for ever; what they are told is in the metrics.
        if not request.path.startswith(_PROBES):
            log.info(
                "%s: %s %s %d in %.1f ms, request %s",
                *(settings.name, method, request.rel_url.raw_path, response.status, took * 1e3),
                context.request_id,
            )
        return response

    return edge


def _labels(request: web.Request, context: RequestContext) -> tuple[str, str]:
    method = request.method
    if context.route:
        return context.route, method if method in _METHODS else "other"
    resource = request.match_info.route.resource
    if resource is None:
        return "unmatched", method if method in _METHODS else "other"
    return resource.canonical, method


async def _complete_headers(request: web.Request, response: web.StreamResponse) -> None:
    # A signal, not the middleware: it also sees streams, whose headers leave before they return.
    headers = response.headers
    make_safe(headers, response.content_type)
    context = request.get(CONTEXT)
    if context is not None:
        headers["X-Request-Id"] = context.request_id
        headers["traceparent"] = context.traceparent
        for name, value in context.headers.items():
            headers.add(name, value)
        if context.deadline is not None:
            context.deadline.reschedule(None)  # The answer begins in time; a stream may go on.


async def _announce_stop(app: web.Application) -> None:
    app[STOPPING].set()
