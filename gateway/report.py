"""``GET /api/gateway/upstreams``: how each service is doing as the gateway sees it, for staff."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, NoReturn

from aiohttp import web

from contracts.api.base import ListQuery
from gateway.resilience import Instance, Upstream
from gateway.upstreams import Upstreams
from gateway.watch import Failure
from sagas.envelope import rfc3339
from sagas.web.auth import require
from sagas.web.body import json_response, read_query
from sagas.web.pages import decode_cursor, page

__all__ = ["PATH", "add_report"]

PATH = "/api/gateway/upstreams"
ORDER = "upstreams"


def add_report(app: web.Application, upstreams: Upstreams) -> None:
    """Add the route."""

    async def report(request: web.Request) -> web.Response:
        require(request, "staff")
        query = read_query(request, ListQuery)
        after = decode_cursor(query.cursor, ORDER)
        found = sorted(upstreams, key=lambda upstream: upstream.name)
        rest = [each for each in found if after is None or each.name > after[1]]
        shown = page(rest, query.limit, lambda each: (None, each.name), _shown, ORDER)
        return json_response(shown, headers={"Cache-Control": "no-store"})

    async def only_get(request: web.Request) -> NoReturn:
        raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))

    app.router.add_get(PATH, report)
    app.router.add_route("*", PATH, only_get)


def _shown(upstream: Upstream) -> dict[str, Any]:
    watch, budget = upstream.watch, upstream.budget
    return {
        "upstream": upstream.name,
        "breaker": _overall(upstream),
        "instances": [_instance(each) for each in upstream.instances],
        "rates": {
            "requests_per_s": round(watch.asked.per_s(), 1),
            "refused_per_s": round(watch.refused.per_s(), 1),
            "calls_per_s": round(watch.sent.per_s(), 1),
            "failures_per_s": round(watch.failed.per_s(), 1),
            "retries_per_s": round(budget.retries.per_s(), 1),
        },
        "bulkhead": {
            "running": upstream.bulkhead.running,
            "queued": upstream.bulkhead.queued,
            "long_running": upstream.long.running,
        },
        "limits": asdict(upstream.limits),
        "last_errors": [_failure(each) for each in reversed(watch.latest)],
    }


def _overall(upstream: Upstream) -> str:
    """The state of its most willing breaker: that is what a request meets."""
    states = {each.breaker.state for each in upstream.instances}
    return next(state for state in ("closed", "half_open", "open") if state in states)


def _instance(instance: Instance) -> dict[str, Any]:
    calls, failed_percent = instance.breaker.counts
    return {
        "url": instance.url,
        "breaker": {
            "state": instance.breaker.state,
            "calls": calls,
            "failed_percent": round(failed_percent, 1),
            "retry_after_s": math.ceil(instance.breaker.retry_after_s),
        },
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {**asdict(failure), "at": rfc3339(failure.at)}
