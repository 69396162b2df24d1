"""The gateway as an application: it knows who calls, and hands every request to its service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial

from aiohttp import web

from gateway.addresses import counted_as
from gateway.admission import Admission
from gateway.clients import Transport
from gateway.cors import Cors
from gateway.documents import add_documents
from gateway.readiness import Readiness
from gateway.report import add_report
from gateway.routes import ASYNCAPI, proxy_to
from gateway.settings import GatewaySettings
from gateway.upstreams import Upstreams
from gateway.webpage import add_page
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
    checks: Mapping[str, Check] | None = None,
) -> web.Application:
    """The gateway; more routes may be added to it, then ``serve`` it.

    ``checks`` are asked for readiness besides every service's own.
    """
    metrics = Metrics()
    app = make_app(
        ids,
        tokens=Tokens(settings.jwt_secret, clock, others=settings.jwt_other_secrets),
        metrics=metrics,
        settings=_web_settings(settings),
        admit=Admission(settings, metrics),
    )
    transport = Transport(settings)

    async def connections(_app: web.Application) -> AsyncIterator[None]:
        await transport.open()
        yield
        await transport.close()

    app.cleanup_ctx.append(connections)
    limit_s = settings.ready_timeout_s
    probes = {
        service: Check(Readiness(transport, service, urls, limit_s), limit_s=limit_s + 0.5)
        for service, urls in settings.upstreams.items()
    }
    add_health(app, {**probes, **(checks or {})}, metrics)
    upstreams = Upstreams(settings, transport.send, clock, ids, metrics)
    add_report(app, upstreams)
    add_documents(app, upstreams, settings)
    add_page(app, tells_logins=settings.seed == "demo")
    cors = Cors(settings.cors_origins)
    app.on_response_prepare.append(cors.mark)
    proxy = cors.preflighted(proxy_to(upstreams, settings))
    for path in ("/api/{tail:.*}", ASYNCAPI):
        app.router.add_route("*", path, proxy)
    return app


def _web_settings(settings: GatewaySettings) -> WebSettings:
    return WebSettings(
        name="gateway",
        body_limit_bytes=settings.body_limit_bytes,
        header_count=settings.header_count,
        header_limit_bytes=settings.header_limit_bytes,
        arrival_s=settings.arrival_s,
        reader_s=settings.reader_timeout_s,
        connections=settings.connections,
        connections_each=settings.connections_each,
        unsent_each_bytes=settings.unsent_each_bytes,
        counted_as=partial(counted_as, settings.trusted_proxies),
        keepalive_s=settings.keepalive_s,
        # An upstream call that nobody waits for any more only takes others' place.
        cancel_on_disconnect=True,
    )
