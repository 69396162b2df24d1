"""A service refuses what the gateway refuses: whoever reaches its port finds no softer door."""

from __future__ import annotations

import pytest
from aiohttp import web

from sagas.web.body import json_response, read_body
from tests.gateway.test_smuggling import CASES, NEXT, is_refused, spoken


@pytest.fixture
def heard():
    return []


@pytest.fixture
async def host(start, heard):
    async def listen(request):
        heard.append(request.path)
        await read_body(request)
        return json_response({})

    return await start(web.route("*", "/api/products/{sku}", listen))


@pytest.mark.parametrize("name", CASES)
async def test_what_can_be_read_in_two_ways_is_refused(host, heard, name):
    assert is_refused(await spoken(host.server.port, CASES[name]))
    assert "/api/products/smuggled" not in heard


async def test_a_body_that_nobody_reads_is_no_next_request(start, heard):
    """Refused before it was read: what follows in it is still a body."""

    async def refuse(request):
        heard.append(request.path)
        return json_response({}, 403)

    host = await start(web.route("*", "/{tail:.*}", refuse))
    body = NEXT * 3
    head = b"POST /first HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    answer = await spoken(host.server.port, head % len(body) + body)
    assert answer.count(b"HTTP/1.1 403") == 1
    assert heard == ["/first"]
