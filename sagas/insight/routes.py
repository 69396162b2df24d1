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
from sagas.tracker.letters_api import OPERATOR
from sagas.tracker.requests import Limit
from sagas.web.body import json_response, read_query
from sagas.web.operations import Content, Operation, routes_of
from sagas.web.problems import Problem
from sagas.web.sse import StreamEvent, event_stream

__all__ = ["insight_routes"]

#: Everybody who asks within this time is told the same, and a stream looks so often.
FRESH_S: Final = 1.0

Source = Callable[[], Awaitable[Sums]]
ANSWER: Final[dict[int, Any]] = {200: dict[str, Any]}


class WindowQuery(BaseModel):
    """Which window; all of them without."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    window: Literal["1m", "1h", "1d"] | None = None


class ListQuery(BaseModel):
    """How many; the total is told in any case."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    limit: Limit = 20


def insight_routes(
    source: Source, plan: Plan, operator: str, clock: Clock, ids: Ids
) -> Iterable[web.RouteDef]:
    """The routes for staff; ``source`` gives the sums of now."""
    insight = _Insight(source, plan, clock, ids)
    return routes_of(insight, roles={"operator": operator})


class _Insight:
    def __init__(self, source: Source, plan: Plan, clock: Clock, ids: Ids) -> None:
        self._source = source
        self._plan = plan
        self._clock = clock
        self._ids = ids
        self._known: tuple[float, Sums] | None = None
        self._asking = asyncio.Lock()

    @Operation(
        "GET",
        "/api/insight/overview",
        "See all sagas as sums: statuses, windows, what is in flight",
        ANSWER,
        who=OPERATOR,
    )
    async def overview(self, request: web.Request) -> web.Response:
        return json_response(await self._overview())

    @Operation(
        "GET",
        "/api/insight/overview/events",
        "Hear the overview whenever it changes (Accept: text/event-stream)",
        {200: Content({"application/json": dict[str, Any], "text/event-stream": str})},
        who=OPERATOR,
        refuses={503: ("overloaded",)},
    )
    async def events(self, request: web.Request) -> web.StreamResponse:
        if "text/event-stream" not in request.headers.get("Accept", ""):
            return json_response(await self._overview())
        # While nobody has the sums, the answer is a problem as anywhere else, no dead stream.
        await self._sums()
        return await event_stream(request, self._stream())

    @Operation(
        "GET",
        "/api/insight/steps",
        "See how long each step takes, and how often it fails",
        ANSWER,
        who=OPERATOR,
        query=WindowQuery,
        sample={"window": "1h"},
    )
    async def steps(self, request: web.Request) -> web.Response:
        return await self._windowed(request, answers.steps)

    @Operation(
        "GET",
        "/api/insight/failures",
        "See why sagas fail: by code, product and postal area",
        ANSWER,
        who=OPERATOR,
        query=WindowQuery,
        sample={"window": "1h"},
    )
    async def failures(self, request: web.Request) -> web.Response:
        return await self._windowed(request, answers.failures)

    @Operation(
        "GET",
        "/api/insight/stuck",
        "See the sagas in which nothing has happened within the deadline",
        ANSWER,
        who=OPERATOR,
        query=ListQuery,
        sample={"limit": "5"},
    )
    async def stuck(self, request: web.Request) -> web.Response:
        return await self._listed(request, answers.stuck)

    @Operation(
        "GET",
        "/api/insight/violations",
        "See the sagas in which something happened that no saga allows",
        ANSWER,
        who=OPERATOR,
        query=ListQuery,
        sample={"limit": "5"},
    )
    async def violations(self, request: web.Request) -> web.Response:
        return await self._listed(request, answers.violations)

    async def _windowed(self, request: web.Request, answer: Any) -> web.Response:
        query = read_query(request, WindowQuery)
        told = answer(await self._sums(), self._plan, self._clock.now())
        if query.window is not None:
            told["windows"] = {query.window: told["windows"][query.window]}
        return json_response(told)

    async def _listed(self, request: web.Request, answer: Any) -> web.Response:
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
            try:
                now = await self._overview()
            except Problem:  # nobody has them for a moment; the reader's comments go on
                await self._clock.sleep(FRESH_S)
                continue
            # The time goes on by itself: that alone is no news.
            news = {name: now[name] for name in now if name not in ("at", "as_of", "windows")}
            news["windows"] = {name: _counts(of) for name, of in now["windows"].items()}
            if news != told:
                told = news
                yield self._ids.new(), "overview", orjson.dumps(now)
            await self._clock.sleep(FRESH_S)


def _counts(window: dict[str, Any]) -> dict[str, Any]:
    return {name: count for name, count in window.items() if isinstance(count, int)}
