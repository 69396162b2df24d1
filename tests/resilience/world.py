"""The gateway's protection on virtual time, in front of services that a test makes up.

Nothing is spared but the sockets: ``Upstreams`` is what the gateway calls, and a service is a
function from a request to its answer.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from multidict import CIMultiDict

from gateway.calls import (
    BadUpstream,
    Unreachable,
    UpstreamRequest,
    UpstreamResponse,
    now_s,
)
from gateway.settings import SERVICE_PORTS
from gateway.upstreams import Upstreams
from sagas.testing.virtual import SeededIds, VirtualClock
from sagas.web.metrics import Metrics
from sagas.web.problems import Problem
from tests.gateway.conftest import settings_of

Service = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]


class World:
    """A gateway; ``services`` by name, each with one instance, or by the address of an instance."""

    def __init__(
        self,
        services: Mapping[str, Service],
        *,
        instances: Mapping[str, tuple[str, ...]] | None = None,
        seed: int = 0,
        **limits: Any,
    ) -> None:
        upstreams = {name: (f"http://{name}",) for name in SERVICE_PORTS} | (instances or {})
        self.services = {
            (name if "://" in name else f"http://{name}"): service
            for name, service in services.items()
        }
        self.sent: Counter[str] = Counter()
        self.metrics = Metrics()
        clock = VirtualClock()
        self.upstreams = Upstreams(
            settings_of(upstreams, limits), self._send, clock, SeededIds(seed, clock), self.metrics
        )

    def __getitem__(self, name: str) -> Any:
        """What protects one service."""
        return next(each for each in self.upstreams if each.name == name)

    async def _send(self, base: str, request: UpstreamRequest) -> UpstreamResponse:
        self.sent[base] += 1
        return await self.services[base](request)

    async def ask(
        self,
        service: str,
        method: str = "GET",
        target: str = "/api/x",
        *,
        within_s: float = 15.0,
        client: str = "somebody",
        address: str = "",
        is_long: bool = False,
        is_hurried: bool = False,
        **headers: str,
    ) -> UpstreamResponse:
        sent = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        deadline = now_s() + within_s
        return await self.upstreams.call(
            UpstreamRequest(
                *(service, method, target, sent, b"", deadline),
                client=client,
                address=address or client,
                is_long=is_long,
                is_hurried=is_hurried,
            )
        )

    async def said(self, service: str, method: str = "GET", **options: Any) -> str:
        """The status, or the code of the problem."""
        try:
            answer = await self.ask(service, method, **options)
        except Problem as problem:
            return problem.code
        answer.close()
        return str(answer.status)


def answer(status: int = 200, body: bytes = b"{}", **headers: str) -> UpstreamResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamResponse(
        status, "", CIMultiDict({"Content-Type": "application/json", **named}), body
    )


async def healthy(_request: UpstreamRequest) -> UpstreamResponse:
    return answer()


async def failing(_request: UpstreamRequest) -> UpstreamResponse:
    return answer(500)


async def dropping(request: UpstreamRequest) -> UpstreamResponse:
    raise BadUpstream(request.service)


async def absent(request: UpstreamRequest) -> UpstreamResponse:
    raise Unreachable(request.service)


async def hanging(_request: UpstreamRequest) -> UpstreamResponse:
    return await asyncio.Event().wait()  # type: ignore[return-value]


def taking(seconds: float, spread: float = 0.0, seed: int = 0) -> Service:
    """Answers after that time, more or less."""
    chance = random.Random(seed)

    async def slow(_request: UpstreamRequest) -> UpstreamResponse:
        await asyncio.sleep(seconds * (1 + spread * chance.uniform(-1, 1)))
        return answer()

    return slow


async def at_rate(
    per_s: float, seconds: float, ask: Callable[[], Awaitable[str]], seed: int = 0
) -> list[tuple[str, float]]:
    """Ask at random moments (Poisson), whatever comes back: what was said, and after how long."""
    chance = random.Random(seed)
    end = now_s() + seconds

    async def one() -> tuple[str, float]:
        began = now_s()
        return await ask(), now_s() - began

    asked = []
    while now_s() < end:
        asked.append(asyncio.ensure_future(one()))
        await asyncio.sleep(chance.expovariate(per_s))
    return await asyncio.gather(*asked)


async def until(is_so: Callable[[], bool]) -> None:
    """Look every hundredth of a second."""
    while not is_so():  # noqa: ASYNC110 - an event would have to be set by what is looked at
        await asyncio.sleep(0.01)


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
