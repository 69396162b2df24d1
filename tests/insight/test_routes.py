"""The routes over sums that cannot always be had: while partitions move, and nobody has them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from participants.choreography import shop
from sagas.insight import insight_routes, merged
from sagas.insight.sums import Sums
from sagas.system import SystemClock, SystemIds
from sagas.web.app import make_app, serve
from sagas.web.auth import Principal, Tokens
from sagas.web.problems import Problem
from tests.e2e.kill.process import free_ports
from tests.insight.simulated import PLAN

SECRET = "a secret of at least thirty-two characters"


class Moving:
    """The source of the sums, and whether it has them."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.away = False
        self.late = 0

    async def sums(self) -> Sums:
        self.asked.set()
        if self.away:
            raise Problem(503, "insight_recovering", "Ask again in a moment.")
        sums = merged(())
        sums["future"] = self.late
        return sums


@pytest.fixture
def source() -> Moving:
    return Moving()


@pytest.fixture
async def staff(source: Moving) -> AsyncIterator[aiohttp.ClientSession]:
    clock, ids, operator = SystemClock(), SystemIds(), shop.operator
    tokens = Tokens(SECRET, clock)
    app = make_app(ids, tokens=tokens)
    app.add_routes(insight_routes(source.sums, PLAN, operator, clock, ids))
    port = free_ports(1)
    running = await serve(app, "127.0.0.1", port)
    headers = {"Authorization": f"Bearer {tokens.issue(Principal('eve', operator))}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:
        yield session
    await running.stop(1.0)


STREAM: dict[str, Any] = {"headers": {"Accept": "text/event-stream"}}


async def test_a_stream_of_what_nobody_has_is_refused_like_any_other_question(
    staff: aiohttp.ClientSession, source: Moving
) -> None:
    source.away = True
    for path, asked in (("/api/insight/overview", {}), ("/api/insight/overview/events", STREAM)):
        async with staff.get(path, **asked) as answer:
            assert answer.status == 503
            assert (await answer.json())["code"] == "insight_recovering"


async def test_a_stream_outlives_a_moment_in_which_nobody_has_the_sums(
    staff: aiohttp.ClientSession, source: Moving
) -> None:
    async with (
        asyncio.timeout(20),
        staff.get("/api/insight/overview/events", **STREAM) as answer,
    ):
        assert answer.status == 200
        assert await _next(answer) == b'"events_from_the_future":0'
        source.away, source.late = True, 7
        source.asked.clear()
        await source.asked.wait()
        source.away = False
        assert await _next(answer) == b'"events_from_the_future":7'


async def _next(answer: aiohttp.ClientResponse) -> bytes:
    """What the next event says of one figure."""
    while True:
        line = await answer.content.readline()
        assert line, "the stream has ended"
        if line.startswith(b"data: "):
            return next(each for each in line.split(b",") if b"from_the_future" in each)
