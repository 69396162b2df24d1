"""``/health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from aiohttp import web
from typing_extensions import TypedDict

from sagas.errors import SagaError
from sagas.web.body import json_response
from sagas.web.metrics import Metrics
from sagas.web.operations import ANYBODY, TEXT, Operation, described

__all__ = ["Check", "Degraded", "add_health"]

log = logging.getLogger(__name__)

_NO_STORE = {"Cache-Control": "no-store"}


class Degraded(Exception):
    """Raised by a probe: it works, though not as it should; the message says why."""


@dataclass(frozen=True, slots=True)
class Check:
    """``probe`` returns when all is well and raises when not.

    Without a ``required`` one nothing works (503); without another, less does (``degraded``).
    """

    probe: Callable[[], Awaitable[None]]
    required: bool = True
    limit_s: float = 2.0


class Liveness(TypedDict):
    status: Literal["live"]


class Readiness(TypedDict):
    """``checks``: ``ok``, or what is wrong."""

    status: Literal["ready", "degraded", "unavailable"]
    checks: dict[str, str]


class _Health(IntEnum):
    READY = 0
    DEGRADED = 1
    UNAVAILABLE = 2


def add_health(app: web.Application, checks: Mapping[str, Check], metrics: Metrics) -> None:
    """Add the three routes. Probes run side by side, each within its own time limit."""

    @Operation(
        "GET",
        "/health/live",
        "Can the process answer?",
        {200: Liveness},
        who=ANYBODY,
        always=True,
    )
    async def live(_request: web.Request) -> web.Response:
        return json_response({"status": "live"}, headers=_NO_STORE)

    @Operation(
        "GET",
        "/health/ready",
        "Can it do its work, and with all that it needs?",
        {200: Readiness, 503: Readiness},
        who=ANYBODY,
        always=True,
    )
    async def ready(_request: web.Request) -> web.Response:
        found = await asyncio.gather(*(_run(name, check) for name, check in checks.items()))
        worst = max((health for health, _ in found), default=_Health.READY)
        content = {
            "status": worst.name.lower(),
            "checks": dict(zip(checks, (said for _, said in found), strict=True)),
        }
        status = 503 if worst is _Health.UNAVAILABLE else 200
        return json_response(content, status, _NO_STORE)

    @Operation(
        "GET",
        "/metrics",
        "Its figures, in the Prometheus text format",
        {200: TEXT},
        who=ANYBODY,
        always=True,
    )
    async def scrape(_request: web.Request) -> web.Response:
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=metrics.render().encode(), headers={"Content-Type": kind})

    app.router.add_routes(described(each) for each in (live, ready, scrape))


async def _run(name: str, check: Check) -> tuple[_Health, str]:
    try:
        async with asyncio.timeout(check.limit_s):
            await check.probe()
    except Degraded as error:
        return _Health.DEGRADED, f"degraded: {error}"
    except TimeoutError:
        said = f"no answer within {check.limit_s:g} s"
    except SagaError as error:
        said = str(error)
    except Exception as error:
        # A driver's message is for the log; readers of this page may be anybody.
        log.warning("check %s failed", name, exc_info=error)
        said = type(error).__name__
    else:
        return _Health.READY, "ok"
    return (_Health.UNAVAILABLE if check.required else _Health.DEGRADED), f"down: {said}"
