"""Is a service ready? Ask every instance of it: one that is suffices to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import orjson
from multidict import CIMultiDict

from gateway.calls import UpstreamRequest, now_s
from gateway.clients import Transport
from gateway.resilience import time_limit
from sagas.errors import SagaError
from sagas.web.health import Degraded
from sagas.web.problems import Problem

__all__ = ["PROBE_S", "UpstreamDown", "readiness_of"]

PROBE_S = 2.0


class UpstreamDown(SagaError):
    """No instance of a service is ready; the message says why."""


def readiness_of(
    transport: Transport, service: str, bases: Sequence[str]
) -> Callable[[], Awaitable[None]]:
    """A probe: raises ``UpstreamDown`` when no instance is ready, ``Degraded`` when not all are."""

    async def probe() -> None:
        faults = await asyncio.gather(*(_ask(transport, service, base) for base in bases))
        if all(isinstance(fault, UpstreamDown) for fault in faults):
            raise UpstreamDown(str(faults[0]))
        for fault in faults:
            if fault is not None:
                raise Degraded(str(fault))

    return probe


async def _ask(transport: Transport, service: str, base: str) -> Degraded | UpstreamDown | None:
    deadline = now_s() + PROBE_S
    request = UpstreamRequest(
        service, "GET", "/health/ready", CIMultiDict(), b"", deadline, base=base
    )
    try:
        answer = await time_limit(transport.send, request)
    except Problem as problem:
        return UpstreamDown("no answer" if problem.status != 504 else f"silent for {PROBE_S:g} s")
    answer.close()
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
