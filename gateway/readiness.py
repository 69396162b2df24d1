"""Is a service ready? Ask every instance of it: one that is suffices to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from multidict import CIMultiDict

from gateway.clients import UpstreamRequest, Upstreams
from gateway.resilience import time_limit
from sagas.errors import SagaError
from sagas.web.health import Degraded
from sagas.web.problems import Problem

__all__ = ["PROBE_S", "UpstreamDown", "readiness_of"]

PROBE_S = 2.0


class UpstreamDown(SagaError):
    """No instance of a service is ready; the message says why."""


def readiness_of(upstreams: Upstreams, service: str) -> Callable[[], Awaitable[None]]:
    """A probe: raises ``UpstreamDown`` when no instance is ready, ``Degraded`` when not all are."""

    async def probe() -> None:
        bases = upstreams.instances(service)
        faults = await asyncio.gather(*(_ask(upstreams, service, base) for base in bases))
        if all(isinstance(fault, UpstreamDown) for fault in faults):
            raise UpstreamDown(str(faults[0]))
        for fault in faults:
            if fault is not None:
                raise Degraded(str(fault))

    return probe


async def _ask(upstreams: Upstreams, service: str, base: str) -> Degraded | UpstreamDown | None:
    request = UpstreamRequest(service, "GET", "/health/ready", CIMultiDict(), b"", PROBE_S)
    try:
        answer = await time_limit(lambda asked: upstreams.send(base, asked), request)
    except Problem as problem:
        return UpstreamDown("no answer" if problem.status != 504 else f"silent for {PROBE_S:g} s")
    if answer.rest is not None:
        answer.rest.close()
    found = _failing(answer.body)
    if answer.status != 200:
        return UpstreamDown(f"unavailable{found}")
    return Degraded(found.strip()) if found else None


def _failing(body: bytes) -> str:
    """The names of the checks that are not ok; empty when all are."""
    try:
        checks = orjson.loads(body)["checks"]
        names = sorted(name for name, said in checks.items() if said != "ok")
    except (ValueError, KeyError, TypeError, AttributeError):
        return " (its answer cannot be read)"
    return f" ({', '.join(names)})" if names else ""
