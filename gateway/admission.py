"""Who is let in, and how often: asked of every request before anything is done for it."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from gateway.addresses import client_address, share_of
from gateway.calls import RateLimited
from gateway.limits import ClientLimits
from gateway.settings import GatewaySettings
from sagas.web.context import context_of
from sagas.web.metrics import Metrics

__all__ = ["CLIENT", "EXEMPT", "Admission"]

#: Whoever watches over the gateway must see it at its worst.
EXEMPT: Final = frozenset({"/health/live", "/health/ready", "/metrics"})
#: The address of the client, as it was believed.
CLIENT: Final = web.RequestKey("gateway.client", str)


class Admission:
    """Limits the rate of each client: 429, with the draft's headers on every limited answer.

    A token that is not good is nobody's: such requests count for the address they come from.
    """

    def __init__(self, settings: GatewaySettings, metrics: Metrics) -> None:
        self._trusted = settings.trusted_proxies
        self._limits = ClientLimits(settings)
        self._refused = metrics.counter(
            "gateway_rate_limited_total", "Requests over their client's rate.", ("policy",)
        )
        metrics.gauge(
            "gateway_limited_clients",
            "Clients that the rate limiter remembers.",
            lambda: len(self._limits),
        )

    async def __call__(self, request: web.Request) -> None:
        address = client_address(request.remote, request.headers, self._trusted)
        request[CLIENT] = address
        if request.rel_url.raw_path in EXEMPT:
            return
        context = context_of(request)
        subject = None if context.principal is None else context.principal.subject
        allowed, bucket, name = await self._limits.take(subject, share_of(address))
        context.headers = bucket.headers(name)
        if not allowed:
            self._refused.add(name)
            raise RateLimited("Too many requests; slow down.", bucket.wait_s)
