"""Insight over HTTP: the same whether this process computes it or the workers of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, Literal

import orjson
from aiohttp import web
from pydantic import BaseModel, ConfigDict

from sagas.insight import answers
from sagas.insight.sums import Sums
from sagas.ports import Clock, Ids
from sagas.tracker import Plan
from sagas.tracker.requests import Limit, NoQuery
from sagas.web.auth import require
from sagas.web.body import json_response, read_query
from sagas.web.sse import StreamEvent, event_stream

__all__ = ["insight_routes"]

#: Everybody who asks within this time is told the same, and a stream looks so often.
FRESH_S: Final = 1.0

Source = Callable[[], Awaitable[Sums]]


class WindowQuery(BaseModel):
    """Which window; all of them without."""

    model_config = ConfigDict(extra="forbid")

    window: Literal["1m", "1h", "1d"] | None = None


class ListQuery(BaseModel):
    """How many; the total is told in any case."""

    model_config = ConfigDict(extra="forbid")

    limit: Limit = 20


def insight_routes(
    source: Source, plan: Plan, operator: str, clock: Clock, ids: Ids
) -> Iterable[web.RouteDef]:
    """The routes for staff; ``source`` gives the sums of now."""
    insight = _Insight(source, plan, operator, clock, ids)
    return [
        web.get("/api/insight/overview", insight.overview),
        web.get("/api/insight/overview/events", insight.events),
        web.get("/api/insight/steps", insight.steps),
        web.get("/api/insight/failures", insight.failures),
        web.get("/api/insight/stuck", insight.stuck),
        web.get("/api/insight/violations", insight.violations),
    ]


class _Insight:
    def __init__(self, source: Source, plan: Plan, operator: str, clock: Clock, ids: Ids) -> None:
        self._source = source
        self._plan = plan
        self._operator = operator
        self._clock = clock
        self._ids = ids
        self._known: tuple[float, Sums] | None = None
        self._asking = asyncio.Lock()

    async def overview(self, request: web.Request) -> web.Response:
        require(request, self._operator)
        read_query(request, NoQuery)
        return json_response(await self._overview())

    async def events(self, request: web.Request) -> web.StreamResponse:
        require(request, self._operator)
        read_query(request, NoQuery)
        if "text/event-stream" not in request.headers.get("Accept", ""):
            return json_response(await self._overview())
        return await event_stream(request, self._stream())

    async def steps(self, request: web.Request) -> web.Response:
        return await self._windowed(request, answers.steps)

    async def failures(self, request: web.Request) -> web.Response:
        return await self._windowed(request, answers.failures)

    async def stuck(self, request: web.Request) -> web.Response:
        return await self._listed(request, answers.stuck)

    async def violations(self, request: web.Request) -> web.Response:
        return await self._listed(request, answers.violations)

    async def _windowed(self, request: web.Request, answer: Any) -> web.Response:
        require(request, self._operator)
        query = read_query(request, WindowQuery)
        told = answer(await self._sums(), self._plan, self._clock.now())
        if query.window is not None:
            told["windows"] = {query.window: told["windows"][query.window]}
        return json_response(told)

    async def _listed(self, request: web.Request, answer: Any) -> web.Response:
        require(request, self._operator)
        query = read_query(request, ListQuery)
        return json_response(answer(await self._sums(), query.limit))

    async def _overview(self) -> dict[str, Any]:
        return answers.overview(await self._sums(), self._plan, self._clock.now())

    async def _sums(self) -> Sums:
        async with self._asking:
            now = self._clock.now()
            if self._known is None or not 0 <= now - self._known[0] < FRESH_S:
                self._known = (now, await self._source())
            return self._known[1]

    async def _stream(self) -> AsyncIterator[StreamEvent]:
        """The overview, and then again whenever it says something new."""
        told: dict[str, Any] = {}
        while True:
            now = await self._overview()
            # The time goes on by itself: that alone is no news.
            news = {name: now[name] for name in now if name not in ("at", "as_of", "windows")}
            news["windows"] = {name: _counts(of) for name, of in now["windows"].items()}
            if news != told:
                told = news
                yield self._ids.new(), "overview", orjson.dumps(now)
            await self._clock.sleep(FRESH_S)


def _counts(window: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in window.items() if isinstance(count, int)}
