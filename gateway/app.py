"""The gateway as an application: it knows who calls, and hands every request to its service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence

from aiohttp import web

from gateway.clients import Upstreams
from gateway.readiness import PROBE_S, readiness_of
from gateway.resilience import Policy, pipeline, time_limit
from gateway.routes import proxy_to
from gateway.settings import GatewaySettings
from sagas.ports import Clock, Ids
from sagas.web.app import WebSettings, make_app
from sagas.web.auth import Tokens
from sagas.web.health import Check, add_health
from sagas.web.metrics import Metrics

__all__ = ["create_gateway"]


def create_gateway(
    settings: GatewaySettings,
    clock: Clock,
    ids: Ids,
    *,
    policies: Sequence[Policy] = (time_limit,),
    checks: Mapping[str, Check] | None = None,
) -> web.Application:
    """The gateway; more routes (the web page) may be added to it, then ``serve`` it.

    ``checks`` are asked for readiness besides every service's own.
    """
    metrics = Metrics()
    app = make_app(
        ids,
        tokens=Tokens(settings.jwt_secret, clock),
        metrics=metrics,
        settings=_limits(settings),
    )
    upstreams = Upstreams(settings.upstreams, settings.connect_timeout_s)

    async def connections(_app: web.Application) -> AsyncIterator[None]:
        await upstreams.open()
        yield
        await upstreams.close()

    app.cleanup_ctx.append(connections)
    probes = {
        service: Check(readiness_of(upstreams, service), limit_s=PROBE_S + 0.5)
        for service in settings.upstreams
    }
    add_health(app, {**probes, **(checks or {})}, metrics)
    call = pipeline(policies, upstreams.call)
    app.router.add_route("*", "/api/{tail:.*}", proxy_to(call, settings.upstream_timeout_s))
    return app


def _limits(settings: GatewaySettings) -> WebSettings:
    return WebSettings(
        body_limit_bytes=settings.body_limit_bytes,
        arrival_s=settings.arrival_s,
        keepalive_s=settings.keepalive_s,
        max_streams=settings.max_streams,
        # An upstream call that nobody waits for any more only takes others' place.
        cancel_on_disconnect=True,
    )
