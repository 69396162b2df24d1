"""Is a service ready? Ask every instance of it: one that is suffices to go on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial

import orjson
from multidict import CIMultiDict

from gateway.calls import UpstreamRequest, now_s
from gateway.clients import Transport
from gateway.resilience import time_limit
from sagas.errors import SagaError
from sagas.web.health import Degraded
from sagas.web.problems import Problem

__all__ = ["Readiness", "UpstreamDown"]

#: For so long an answer holds. Nobody is limited in asking for health: so they share what is found.
FRESH_S = 0.25


class UpstreamDown(SagaError):
    """No instance of a service is ready; the message says why."""


_Fault = Degraded | UpstreamDown | None


class Readiness:
    """A probe of one service."""

    def __init__(
        self, transport: Transport, service: str, bases: Sequence[str], limit_s: float
    ) -> None:
        self._transport = transport
        self._service = service
        self._bases = bases
        self._limit_s = limit_s
        self._asking = asyncio.Lock()
        self._asked_at = -math.inf
        self._faults: Sequence[_Fault] = ()

    async def __call__(self) -> None:
        """Raises ``UpstreamDown`` when no instance is ready, ``Degraded`` when not all are."""
        async with self._asking:
            if now_s() - self._asked_at >= FRESH_S:
                self._faults = await asyncio.gather(*(self._ask(base) for base in self._bases))
                self._asked_at = now_s()
        if all(isinstance(fault, UpstreamDown) for fault in self._faults):
            raise UpstreamDown(str(self._faults[0]))
        for fault in self._faults:
            if fault is not None:
                raise Degraded(str(fault))

    async def _ask(self, base: str) -> _Fault:
        deadline = now_s() + self._limit_s
        request = UpstreamRequest(
            self._service, "GET", "/health/ready", CIMultiDict(), b"", deadline
        )
        try:
            answer = await time_limit(partial(self._transport.send, base), request)
        except Problem as problem:
            silent = f"silent for {self._limit_s:g} s"
            return UpstreamDown(silent if problem.status == 504 else "no answer")
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
