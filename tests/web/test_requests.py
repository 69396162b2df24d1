"""What every request meets: ids, limits, errors in one shape, deadlines."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from aiohttp import web

from sagas.errors import CommandRefused, StoreUnavailable
from sagas.web.app import WebSettings, make_app, serve
from sagas.web.context import context_of

JSON = {"Content-Type": "application/json"}


def problem(response, body):
    assert response.headers["Content-Type"] == "application/problem+json"
    found = json.loads(body)
    assert found["status"] == response.status
    assert found["request_id"] == response.headers["X-Request-Id"]
    assert {"type", "title", "detail", "instance", "code"} <= found.keys()
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in response.headers
    return found


async def test_a_good_request_is_answered_without_a_banner(shop):
    response, body = await shop.ask("POST", "/things", json={"lines": []})
    assert response.status == 201
    assert json.loads(body) == {"lines": []}
    assert response.headers["Location"] == "/things/1"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in response.headers


async def test_a_request_id_is_echoed_and_made_when_absent(shop):
    response, _ = await shop.ask("GET", "/things/1", headers={"X-Request-Id": "mine-1"})
    assert response.headers["X-Request-Id"] == "mine-1"
    response, _ = await shop.ask("GET", "/things/1")
    assert response.headers["X-Request-Id"].startswith("id-")


@pytest.mark.parametrize("odd", ["x" * 129, "two words", "ümlaut", ""])
async def test_an_odd_request_id_is_replaced(shop, odd):
    response, _ = await shop.ask("GET", "/things/1", headers={"X-Request-Id": odd})
    assert response.headers["X-Request-Id"].startswith("id-")


async def test_a_trace_goes_on_or_begins(shop):
    sent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    response, _ = await shop.ask("GET", "/things/1", headers={"traceparent": sent})
    assert response.headers["traceparent"] == sent
    response, _ = await shop.ask(
        "GET", "/things/1", headers={"traceparent": sent.replace("a", "0")}
    )
    assert response.headers["traceparent"] not in (sent, "")


async def test_unknown_paths_and_methods_are_problems(shop):
    response, body = await shop.ask("GET", "/nowhere?x=1")
    assert response.status == 404
    assert problem(response, body)["code"] == "not_found"
    assert json.loads(body)["instance"] == "/nowhere"
    response, body = await shop.ask("DELETE", "/things")
    assert response.status == 405
    assert problem(response, body)["code"] == "method_not_allowed"
    assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (KeyError("the driver's secret words"), 500, "internal_error"),
        (TimeoutError(), 500, "internal_error"),
        (StoreUnavailable("file is locked"), 503, "unavailable"),
        (CommandRefused("too_late", "It is too late."), 409, "too_late"),
        (CommandRefused("cart_empty", "Put something in."), 422, "cart_empty"),
        (web.HTTPFound("/elsewhere"), 302, "found"),
    ],
)
async def test_whatever_a_handler_raises_becomes_a_problem(start, caplog, error, status, code):
    async def fail(_request):
        raise error

    host = await start(web.get("/", fail), statuses={"cart_empty": 422})
    with caplog.at_level(logging.ERROR, "sagas.web"):
        response, body = await host.ask("GET", "/")
    assert response.status == status
    assert problem(response, body)["code"] == code
    assert b"secret words" not in body
    assert ("secret words" in caplog.text) == isinstance(error, KeyError)
    assert ("Retry-After" in response.headers) == (status == 503)


async def test_what_is_no_http_is_refused_in_the_same_shape(shop):
    answer = await shop.raw(b"HELLO there\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.0 400", b"HTTP/1.1 400"))
    assert b"server:" not in head.lower()
    assert b"nosniff" in head
    assert json.loads(body)["code"] == "malformed_request"


async def test_a_huge_header_is_refused(shop):
    answer = await shop.raw(b"GET / HTTP/1.1\r\nHost: x\r\nX-Big: " + b"x" * 100_000 + b"\r\n\r\n")
    assert b"application/problem+json" in answer
    assert b" 431 " in answer or b" 400 " in answer


async def test_an_unknown_expectation_is_a_problem(shop):
    answer = await shop.raw(
        b"GET /things/1 HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 417")
    assert b"application/problem+json" in answer
    assert b"server:" not in answer.lower()


async def test_a_body_announced_as_too_large_is_refused_before_it_comes(shop):
    answer = await shop.raw(
        b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 70000\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"body_too_large"' in answer


async def test_a_chunked_body_is_refused_when_it_grows_too_large(shop):
    chunk = b"2000\r\n" + b" " * 0x2000 + b"\r\n"
    answer = await shop.raw(
        b"POST /things HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n",
        *[chunk] * 9,
    )
    assert answer.startswith(b"HTTP/1.1 413")


async def test_a_body_of_exactly_the_limit_passes(shop):
    body = b'{"lines": []}'
    response, _ = await shop.ask("POST", "/things", data=body.ljust(65_536), headers=JSON)
    assert response.status == 201
    response, _ = await shop.ask("POST", "/things", data=body.ljust(65_537), headers=JSON)
    assert response.status == 413


HEAD = (
    b"POST /things HTTP/1.1\r\nHost: x\r\n"
    b"Content-Type: application/json\r\nContent-Length: 13\r\n\r\n"
)


@pytest.fixture
async def hasty(start, echo_route):
    """A server that waits a fifth of a second for a request."""
    return await start(echo_route, arrival_s=0.2)


async def test_a_body_that_dawdles_is_answered_and_closed(hasty):
    answer = await hasty.raw(HEAD + b'{"li')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer


async def test_headers_that_dawdle_are_answered_and_closed(hasty):
    answer = await hasty.raw(b"POST /things HTTP/1.1\r\nHost:")
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"request_timeout"' in answer


async def test_a_silent_connection_is_closed(hasty):
    assert await hasty.raw() == b""


async def test_silence_first_gains_no_time(start, echo_route):
    """The clock of the first request runs from the connection's start, not from its first byte."""
    host = await start(echo_route, arrival_s=0.6)
    closed = []

    async def silent(name):
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)

        async def watch():
            await reader.read()
            closed.append(name)
            writer.close()

        return writer, asyncio.ensure_future(watch())

    writer, first = await silent("first, which speaks late")
    await asyncio.sleep(0.3)
    _, second = await silent("second, which says nothing")
    await asyncio.sleep(0.15)
    writer.write(b"POST /th")
    async with asyncio.timeout(5):
        await asyncio.gather(first, second)
    assert closed == ["first, which speaks late", "second, which says nothing"]


async def test_a_later_request_has_the_same_deadline_from_its_first_byte(hasty):
    answer = await hasty.raw(HEAD + b'{"lines": []}', b"POST /th")
    assert answer.startswith(b"HTTP/1.1 201")
    assert answer.count(b"HTTP/1.1 408") == 1


async def test_a_drop_now_and_then_does_not_extend_the_deadline(hasty):
    reader, writer = await asyncio.open_connection("127.0.0.1", hasty.server.port)
    writer.write(HEAD)
    seen = asyncio.ensure_future(reader.read())
    async with asyncio.timeout(5):
        while not seen.done():
            writer.write(b" ")
            await asyncio.wait({seen}, timeout=0.03)
    assert (await seen).startswith(b"HTTP/1.1 408")
    writer.close()


async def test_pieces_that_arrive_in_time_are_one_request(shop):
    closing = HEAD.replace(b"Host: x", b"Host: x\r\nConnection: close")
    answer = await shop.raw(closing[:10], closing[10:60], closing[60:], b'{"lines"', b": []}")
    assert answer.startswith(b"HTTP/1.1 201")


async def test_a_stopping_server_lets_requests_finish(ids):
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(request):
        entered.set()
        await release.wait()
        return web.Response(text=context_of(request).request_id)

    app = make_app(ids, settings=WebSettings())
    app.router.add_get("/", slow)
    server = await serve(app, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\n\r\n")
    await entered.wait()
    stopping = asyncio.ensure_future(server.stop(10))
    await asyncio.sleep(0)
    release.set()
    assert (await reader.read()).endswith(b"last")
    await stopping
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", server.port)
