"""What goes in at the gateway comes out at the service, and back: no more, no less."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from aiohttp import web

from tests.gateway.conftest import NOBODY


async def mirror(request):
    """Answers with what it was asked."""
    body = await request.read()
    return web.json_response(
        {
            "method": request.method,
            "target": request.raw_path,
            "headers": [[name.lower(), value] for name, value in request.headers.items()],
            "body": body.decode("latin-1"),
        }
    )


def headers_of(seen):
    return dict(seen["headers"])


async def test_method_path_query_and_body_arrive_as_they_were_sent(service, edge):
    host = await edge(product=await service(mirror))
    for method, target in (
        ("GET", b"/api/products?q=a%20b&q=&x=%2F+%C3%A4&empty"),
        ("POST", b"/api/products/a%2Fb;c=d/%7Etilde/..%2f?x"),
        ("PUT", b"/api/products//double//"),
        ("PATCH", b"/api/products/x?a=b?c=d"),
        ("DELETE", b"/api/products/x"),
    ):
        body = b'{"a": 1}' if method in ("POST", "PUT", "PATCH") else b""
        answer = await host.raw(
            method.encode() + b" " + target + b" HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        head, _, seen = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        seen = json.loads(seen)
        assert (seen["method"], seen["target"]) == (method, target.decode())
        assert seen["body"] == body.decode()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/products/x", "product"),
        ("/api/orders", "order"),
        ("/api/carts/me", "order"),
        ("/api/customers/me", "customer"),
        ("/api/sessions", "customer"),
        ("/api/payments", "payment"),
        ("/api/inventory/x", "inventory"),
        ("/api/shipping", "shipping"),
        ("/api/sagas/graph", "tracker"),
        ("/api/dead-letters", "tracker"),
    ],
)
async def test_each_path_has_its_service(service, edge, path, name):
    async def here(_request):
        return web.Response(text=name)

    host = await edge(**{name: await service(here)})
    assert (await host.ask("GET", path))[1] == name.encode()


@pytest.mark.parametrize(
    "path", ["/nothing", "/api", "/api/", "/api/nothing", "/products", "/api//products"]
)
async def test_an_unknown_path_is_a_problem(edge, path):
    host = await edge()
    response, body = await host.ask("GET", path)
    assert (response.status, json.loads(body)["code"]) == (404, "not_found")


async def test_headers_of_one_connection_do_not_travel(service, edge):
    host = await edge(product=await service(mirror))
    answer = await host.raw(
        b"GET /api/products HTTP/1.1\r\nHost: shop:3000\r\nConnection: close, X-Private\r\n"
        b"X-Private: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nUpgrade: websocket\r\n"
        b"Proxy-Authorization: Basic x\r\nX-Public: 1\r\nX-Public: 2\r\nAccept: text/x\r\n"
        b"X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\r\n"
    )
    seen = json.loads(answer.partition(b"\r\n\r\n")[2])
    names = [name for name, _ in seen["headers"]]
    for gone in ("x-private", "keep-alive", "te", "upgrade", "proxy-authorization"):
        assert gone not in names
    assert [value for name, value in seen["headers"] if name == "x-public"] == ["1", "2"]
    found = headers_of(seen)
    assert found["accept"] == "text/x"
    assert found["x-forwarded-for"] == "127.0.0.1"
    assert found["x-forwarded-host"] == "shop:3000"
    assert found["forwarded"] == 'for=127.0.0.1;proto=http;host="shop:3000"'
    # Nothing is added that the client did not send.
    assert "accept-encoding" not in names
    assert "user-agent" not in names
    assert "content-type" not in names


async def test_request_id_and_trace_travel_on_and_come_back(service, edge):
    host = await edge(product=await service(mirror))
    trace = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    response, body = await host.ask(
        "GET", "/api/products", headers={"X-Request-Id": "r-1", "traceparent": trace}
    )
    seen = headers_of(json.loads(body))
    assert seen["x-request-id"] == response.headers["X-Request-Id"] == "r-1"
    assert seen["traceparent"] == trace
    response, body = await host.ask("GET", "/api/products")
    made = response.headers.getall("X-Request-Id")
    assert made == [headers_of(json.loads(body))["x-request-id"]]


async def test_an_answer_comes_back_whole_and_without_its_hop(service, edge):
    packed = gzip.compress(b"hello " * 100)

    async def answer(_request):
        return web.Response(
            status=418,
            reason="Short And Stout",
            body=packed,
            headers=[
                ("Content-Encoding", "gzip"),
                ("Content-Type", "text/x"),
                ("Connection", "X-Hop"),
                ("X-Hop", "1"),
                ("Server", "Secret/1.0"),
                ("Link", "<a>"),
                ("Link", "<b>"),
                ("ETag", '"7"'),
            ],
        )

    host = await edge(product=await service(answer))
    response, body = await host.ask("GET", "/api/products", headers={"Accept-Encoding": "gzip"})
    assert (response.status, response.reason, body) == (418, "Short And Stout", packed)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers.getall("Link") == ["<a>", "<b>"]
    assert response.headers["ETag"] == '"7"'
    assert "X-Hop" not in response.headers
    assert "Server" not in response.headers
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_packed_body_is_not_unpacked_on_its_way(service, edge):
    host = await edge(product=await service(mirror))
    packed = gzip.compress(b"{}")
    _, body = await host.ask(
        "POST", "/api/products", data=packed, headers={"Content-Encoding": "gzip"}
    )
    assert json.loads(body)["body"].encode("latin-1") == packed


async def test_a_redirect_is_passed_on_not_followed(service, edge):
    async def answer(_request):
        return web.Response(status=307, headers={"Location": "/api/products/elsewhere"})

    host = await edge(product=await service(answer))
    response, _ = await host.ask("POST", "/api/products")
    assert (response.status, response.headers["Location"]) == (307, "/api/products/elsewhere")


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_none(service, edge, status):
    async def answer(_request):
        return web.Response(status=status, headers={"ETag": '"1"'})

    host = await edge(product=await service(answer))
    response, body = await host.ask("DELETE" if status == 204 else "GET", "/api/products/x")
    assert (response.status, body, response.headers["ETag"]) == (status, b"", '"1"')


async def test_head_tells_the_length_and_sends_nothing(service, edge):
    async def answer(_request):
        return web.Response(body=b"x" * 42)

    host = await edge(product=await service(answer))
    response, body = await host.ask("HEAD", "/api/products")
    assert (response.status, body, response.headers["Content-Length"]) == (200, b"", "42")


@pytest.mark.parametrize("size", [3 * 1024 * 1024, None])
async def test_a_large_or_endless_answer_flows_through(service, edge, size):
    async def answer(request):
        response = web.StreamResponse()
        if size is not None:
            response.content_length = size
        await response.prepare(request)
        for _ in range(3):
            await response.write(b"x" * 1024 * 1024)
        return response

    host = await edge(product=await service(answer))
    response, body = await host.ask("GET", "/api/products")
    assert (response.status, len(body)) == (200, 3 * 1024 * 1024)
    assert response.content_length == size


async def test_a_body_over_the_limit_never_reaches_the_service(service, edge):
    host = await edge(product=await service(mirror))
    response, body = await host.ask("POST", "/api/products", data=b"x" * 65_537)
    assert (response.status, json.loads(body)["code"]) == (413, "body_too_large")
    response, _ = await host.ask("POST", "/api/products", data=b"x" * 65_536)
    assert response.status == 200

    async def pieces():
        for _ in range(70):
            yield b"x" * 1_024

    response, _ = await host.ask("POST", "/api/products", data=pieces())
    assert response.status == 413


async def test_an_event_stream_is_not_held_back(service, edge):
    go_on = asyncio.Event()
    left = asyncio.Event()

    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        await response.write(b"data: 2\n\n")
        try:
            while True:
                await response.write(b": beat\n\n")
                await asyncio.sleep(0.01)
        finally:
            left.set()

    host = await edge(tracker=await service(answer), limits={"upstream_timeout_s": 0.05})
    headers = {"Accept": "text/event-stream"}
    async with host.session.get(host.url("/api/sagas/s/events"), headers=headers) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == b"data: 1\n\n"
        go_on.set()
        assert await response.content.readuntil(b"\n\n") == b"data: 2\n\n"
        response.close()
    async with asyncio.timeout(5):
        await left.wait()


async def test_an_event_stream_ends_when_the_gateway_stops(service, edge):
    async def answer(request):
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        return response

    host = await edge(tracker=await service(answer))
    async with host.session.get(host.url("/api/sagas/s/events")) as response:
        await response.content.readuntil(b"\n\n")
        stopping = asyncio.ensure_future(host.server.stop(5))
        async with asyncio.timeout(2):
            assert await response.content.read() == b""
            await stopping


async def test_instances_take_turns(service, edge):
    def named(name):
        async def answer(_request):
            return web.Response(text=name)

        return answer

    host = await edge(product=[await service(named("a")), await service(named("b"))])
    answers = [(await host.ask("GET", "/api/products"))[1] for _ in range(4)]
    assert answers == [b"a", b"b", b"a", b"b"]


async def test_a_port_where_nobody_listens_is_a_bad_upstream(edge):
    host = await edge(product=NOBODY)
    response, body = await host.ask("GET", "/api/products")
    assert (response.status, json.loads(body)["code"]) == (502, "bad_upstream")
