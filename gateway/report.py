"""``GET /api/gateway/upstreams``: how each service is doing as the gateway sees it, for staff."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Annotated, Literal, NoReturn

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from contracts.api.base import ListQuery
from gateway.resilience import Instance, Upstream
from gateway.upstreams import Upstreams
from gateway.watch import Failure
from sagas.envelope import rfc3339
from sagas.web.body import json_response, read_query
from sagas.web.operations import CALLER, Operation, Who, described
from sagas.web.pages import decode_cursor, page

__all__ = ["PATH", "add_report"]

PATH = "/api/gateway/upstreams"
ORDER = "upstreams"


State = Literal["closed", "half_open", "open"]


class BreakerReport(TypedDict):
    state: str
    calls: int
    failed_percent: float
    retry_after_s: int


class InstanceReport(TypedDict):
    url: str
    breaker: BreakerReport


class RatesReport(TypedDict):
    """Over the last ten seconds."""

    requests_per_s: float
    refused_per_s: float
    calls_per_s: float
    failures_per_s: float
    shed_per_s: float
    retries_per_s: float


class BulkheadReport(TypedDict):
    running: int
    queued: int
    long_running: int


class FailureReport(TypedDict):
    at: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    instance: str
    method: str
    path: str
    request_id: str
    said: str


class UpstreamReport(TypedDict):
    """``breaker``: of its instances' the most willing one, which is what a request meets."""

    upstream: str
    breaker: State
    instances: list[InstanceReport]
    rates: RatesReport
    bulkhead: BulkheadReport
    limits: dict[str, float]
    last_errors: list[FailureReport]


class UpstreamPage(TypedDict):
    items: list[UpstreamReport]
    next_cursor: str | None


def add_report(app: web.Application, upstreams: Upstreams) -> None:
    """Add the route."""

    @Operation(
        "GET",
        PATH,
        "See how each service is doing, as the gateway sees it",
        {200: UpstreamPage},
        who=Who("bearer", "staff", CALLER.shown),
        query=ListQuery,
    )
    async def report(request: web.Request) -> web.Response:
        query = read_query(request, ListQuery)
        after = decode_cursor(query.cursor, ORDER)
        found = sorted(upstreams, key=lambda upstream: upstream.name)
        rest = [each for each in found if after is None or each.name > after[1]]
        shown = page(rest, query.limit, lambda each: (None, each.name), _shown, ORDER)
        return json_response(shown, headers={"Cache-Control": "no-store"})

    async def only_get(request: web.Request) -> NoReturn:
        raise web.HTTPMethodNotAllowed(request.method, ("GET", "HEAD"))

    app.router.add_routes([described(report)])
    app.router.add_route("*", PATH, only_get)


def _shown(upstream: Upstream) -> UpstreamReport:
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
            "shed_per_s": round(watch.shed.per_s(), 1),
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


def _overall(upstream: Upstream) -> State:
    """The state of its most willing breaker: that is what a request meets."""
    states = {each.breaker.state for each in upstream.instances}
    order: tuple[State, ...] = ("closed", "half_open", "open")
    return next(state for state in order if state in states)


def _instance(instance: Instance) -> InstanceReport:
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


def _failure(failure: Failure) -> FailureReport:
    return {
        "at": rfc3339(failure.at),
        "instance": failure.instance,
        "method": failure.method,
        "path": failure.path,
        "request_id": failure.request_id,
        "said": failure.said,
    }
