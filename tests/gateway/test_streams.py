"""Event streams through the gateway: at their reader's pace, for so long, and so many."""

from __future__ import annotations

import asyncio
import tracemalloc

import aiohttp
import pytest
from aiohttp import web

from tests.gateway.test_refusals import problem

EVENTS = "/api/sagas/s/events"
STREAM = {"Accept": "text/event-stream"}
MEGABYTE = 1024 * 1024


def stream(write):
    """A service whose every answer is an event stream that ``write(response)`` writes."""

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await write(response)
        return response

    return answer


async def beat(response):
    while True:
        await response.write(b": beat\n\n")
        await asyncio.sleep(0.01)


async def test_a_slow_reader_holds_back_the_service_not_the_gateways_memory(service, edge):
    written = 0
    left = asyncio.Event()

    async def gush(response):
        nonlocal written
        try:
            while True:
                await response.write(b"data: " + b"x" * 65_536 + b"\n\n")
                written += 65_536
        finally:
            left.set()

    host = await edge(tracker=await service(stream(gush)), limits={"reader_timeout_s": 1.0})
    reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port, limit=1_024)
    writer.write(b"GET %s HTTP/1.1\r\nHost: x\r\n" % EVENTS.encode())
    writer.write(b"Accept: text/event-stream\r\n\r\n")
    before = -1
    tracemalloc.start()
    async with asyncio.timeout(5):
        while written != before:  # what the sockets themselves take in
            before = written
            await asyncio.sleep(0.2)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert MEGABYTE < written < 64 * MEGABYTE
    assert held < MEGABYTE  # the service's part of it included
    async with asyncio.timeout(5):
        await left.wait()  # whoever reads nothing is let go
    writer.close()
    del reader


async def test_a_stream_ends_in_good_order_when_its_time_is_over(service, edge):
    limits = {"stream_limit_s": 0.2, "upstream_timeout_s": 0.1}
    host = await edge(tracker=await service(stream(beat)), limits=limits)
    response, body = await host.ask("GET", EVENTS, headers=STREAM)
    assert response.status == 200
    assert body.count(b": beat\n\n") > 5


async def test_streams_have_places_of_their_own_and_give_them_back(service, edge):
    limits = {"long_calls": 3, "long_calls_each": 2, "bulkhead_calls": 1, "bulkhead_queue": 0}
    host = await edge(tracker=await service(stream(beat)), limits=limits)
    opened = [await host.session.get(host.url(EVENTS), headers=STREAM) for _ in range(2)]
    answer = await host.ask("GET", EVENTS, headers=STREAM)
    assert problem(answer) == (429, "rate_limited")
    assert answer[0].headers.getall("RateLimit")[0] == '"long";r=0;t=1'
    for each in opened:
        each.close()
    async with asyncio.timeout(5):
        while True:
            async with host.session.get(host.url(EVENTS), headers=STREAM) as response:
                if response.status == 200:
                    break
            await asyncio.sleep(0.01)


async def test_only_who_asks_for_events_has_such_a_place(service, edge):
    async def hang(_request):
        await asyncio.Event().wait()

    limits = {"bulkhead_calls": 1, "bulkhead_queue": 0, "upstream_timeout_s": 0.3}
    host = await edge(tracker=await service(hang), limits=limits)
    calls = (host.ask("GET", "/api/sagas", headers={**STREAM, "Prefer": "wait=9"}) for _ in "ab")
    answers = sorted(map(problem, await asyncio.gather(*calls)))
    assert answers == [(503, "overloaded"), (504, "upstream_timeout")]


async def test_a_stream_may_be_silent_for_longer_than_an_answer_but_not_for_ever(service, edge):
    async def fall_silent(response):
        await response.write(b"data: 1\n\n")
        await asyncio.sleep(0.2)
        await response.write(b"data: 2\n\n")
        await asyncio.Event().wait()

    limits = {"read_timeout_s": 0.1, "stream_silence_s": 0.4}
    host = await edge(tracker=await service(stream(fall_silent)), limits=limits)
    async with (
        asyncio.timeout(5),
        host.session.get(host.url(EVENTS), headers=STREAM) as response,
    ):
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        assert await response.content.readuntil(b"\n\n") == b"data: 2\n\n"
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.content.read()


@pytest.mark.parametrize(
    ("path", "waits"),
    [
        ("/api/orders", True),
        ("/api/carts/me/checkout", True),
        ("/api/orders/", False),
        ("/api/orders/x/cancel", False),
        ("/api/carts/me", False),
        ("/api/carts/checkout", False),
        ("/api/customers", False),
        ("/api/sessions", False),
    ],
)
async def test_a_wait_takes_a_long_place_only_where_it_is_offered(service, edge, path, waits):
    """Elsewhere nobody is told of it: a service that understood it would seem to hang."""
    heard = []

    async def hang(request):
        heard.append(request.headers.get("Prefer"))
        await asyncio.Event().wait()

    address = await service(hang)
    limits = {"bulkhead_calls": 1, "bulkhead_queue": 0, "upstream_timeout_s": 0.3}
    host = await edge(order=address, customer=address, limits=limits)
    asked = {"headers": {"Prefer": "wait=9", "X-Request-Timeout-Ms": "300"}}
    answers = await asyncio.gather(*(host.ask("POST", path, **asked) for _ in "ab"))
    told = (
        {(504, "upstream_timeout")} if waits else {(503, "overloaded"), (504, "upstream_timeout")}
    )
    assert set(map(problem, answers)) == told
    assert heard == (["wait=9"] * 2 if waits else [None])
