"""``shop demo`` says so when the shop does not answer as its contract says."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shop.demo import demo

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_stream_that_is_none_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    async def session(_request: web.Request) -> web.Response:
        return web.json_response({"access_token": "t"})

    async def order(_request: web.Request) -> web.Response:
        return web.json_response({"order_id": "o", "links": {"events": "/none"}}, status=202)

    app = web.Application()
    app.add_routes([web.post("/api/sessions", session), web.post("/api/orders", order)])
    async with TestServer(app) as server:
        assert await demo(str(server.make_url("/"))) == 1
    assert "GET /none: 404" in capsys.readouterr().out
