"""What the gateway answers by itself: strangers, slow and broken upstreams, its own health."""

from __future__ import annotations

import asyncio
import json

import jwt
import pytest
from aiohttp import web

from sagas.errors import SettingError
from sagas.web.health import Check

SECRET = "a secret of at least thirty-two characters"


def problem(answer):
    response, body = answer
    assert response.headers["Content-Type"] == "application/problem+json"
    assert json.loads(body)["request_id"] == response.headers["X-Request-Id"]
    return response.status, json.loads(body)["code"]


async def who(request):
    return web.json_response({"authorization": request.headers.get("Authorization")})


async def test_a_good_token_is_passed_on(service, edge, token):
    host = await edge(product=await service(who))
    sent = {"Authorization": f"Bearer {token}"}
    _, body = await host.ask("GET", "/api/products", headers=sent)
    assert json.loads(body) == {"authorization": f"Bearer {token}"}
    _, body = await host.ask("GET", "/api/products")
    assert json.loads(body) == {"authorization": None}


async def test_a_bad_token_goes_no_further(service, edge, token):
    async def unreachable(_request):
        raise AssertionError("must not be asked")

    host = await edge(product=await service(unreachable))
    old = jwt.encode(
        {**jwt.decode(token, options={"verify_signature": False}), "exp": 1_000, "nbf": 0}, SECRET
    )
    for bad in (token[:-3] + "abc", old, "x"):
        answer = await host.ask("GET", "/api/products", headers={"Authorization": f"Bearer {bad}"})
        assert problem(answer) == (401, "unauthenticated")
        assert answer[0].headers["WWW-Authenticate"].startswith("Bearer")


async def test_an_upstream_that_is_not_there_or_talks_nonsense_is_bad(edge, stack):
    async def nonsense(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SMTP ready\r\n\r\n")
        writer.close()

    async def hangs_up(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        writer.close()

    host = await edge()
    assert problem(await host.ask("GET", "/api/products")) == (502, "bad_upstream")
    for rude in (nonsense, hangs_up, half):
        server = await asyncio.start_server(rude, "127.0.0.1", 0)
        stack.callback(server.close)
        port = server.sockets[0].getsockname()[1]
        host = await edge(product=f"http://127.0.0.1:{port}")
        answer = await host.ask("POST", "/api/products")
        assert problem(answer) == (502, "bad_upstream"), rude


async def breaking_off(stack, head, piece):
    """A service that breaks off amid a chunked answer; its address."""

    async def breaks(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n")
        writer.write(b"%x\r\n" % len(piece) + piece + b"\r\n")
        writer.close()

    server = await asyncio.start_server(breaks, "127.0.0.1", 0)
    stack.callback(server.close)
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"Content-Type: text/event-stream\r\n", b"data: half\n\n"),
        (b"", b"half" * 500_000),
    ],
)
async def test_an_upstream_that_breaks_off_a_stream_breaks_the_answer(edge, stack, head, piece):
    host = await edge(product=await breaking_off(stack, head, piece))
    answer = await host.raw(b"GET /api/products HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"half" in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_a_short_answer_that_breaks_off_is_no_answer(edge, stack):
    host = await edge(product=await breaking_off(stack, b"", b"half"))
    assert problem(await host.ask("GET", "/api/products")) == (502, "bad_upstream")


@pytest.fixture
async def sleepy(service):
    async def sleep(request):
        if request.path == "/api/products/drip":
            response = web.StreamResponse()
            response.content_length = 10
            await response.prepare(request)
            await response.write(b"x")
        await asyncio.sleep(0.3)
        return web.Response(text="at last")

    return await service(sleep)


async def test_an_upstream_that_takes_too_long_is_given_up(edge, sleepy):
    host = await edge(product=sleepy, limits={"upstream_timeout_s": 0.05})
    for path in ("/api/products", "/api/products/drip"):
        assert problem(await host.ask("GET", path)) == (504, "upstream_timeout")


async def test_a_wish_to_wait_gets_its_time(edge, sleepy):
    host = await edge(order=sleepy, limits={"upstream_timeout_s": 0.05})
    response, _ = await host.ask("POST", "/api/orders", headers={"Prefer": "wait=5"})
    assert response.status == 200


async def test_a_client_that_leaves_frees_the_upstream(service, edge):
    asked, left = asyncio.Event(), asyncio.Event()

    async def patient(_request):
        asked.set()
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.set()
            raise

    host = await edge(product=await service(patient))
    call = asyncio.ensure_future(host.ask("GET", "/api/products"))
    await asked.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await left.wait()


async def test_a_request_that_dawdles_is_closed(service, edge):
    host = await edge(product=await service(who), limits={"arrival_s": 0.2})
    answer = await host.raw(
        b"POST /api/products HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nslow"
    )
    assert answer.startswith(b"HTTP/1.1 408")
    answer = await host.raw(b"GET /api/products HTTP/1.1\r\nHo")
    assert answer.startswith(b"HTTP/1.1 408")


async def test_bytes_that_are_no_text_are_the_clients_fault(service, edge):
    host = await edge(product=await service(who))
    for start in (b"GET /api/products/\xff", b"GET /api/products?\xfe", b"GET /api/products"):
        answer = await host.raw(
            start + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Odd: \xff\r\n\r\n"
        )
        assert answer.split(b" ", 2)[1] in (b"400", b"200"), answer


# ---------------------------------------------------------------------------------------- health


def reporting(status, **checks):
    async def ready(_request):
        word = {200: "ready", 503: "unavailable"}[status]
        return web.json_response({"status": word, "checks": checks}, status=status)

    return ready


SERVICES = ("product", "order", "customer", "payment", "inventory", "shipping", "tracker")


async def ready(host):
    response, body = await host.ask("GET", "/health/ready")
    return response.status, json.loads(body)


async def test_the_gateway_is_ready_once_every_service_is(service, edge):
    well = await service(reporting(200, store="ok"))
    host = await edge(**dict.fromkeys(SERVICES, well))
    status, body = await ready(host)
    assert (status, body["status"]) == (200, "ready")
    assert body["checks"] == dict.fromkeys(SERVICES, "ok")


async def test_a_degraded_service_degrades(service, edge):
    well = await service(reporting(200, store="ok"))
    limping = await service(reporting(200, store="ok", broker="down: refused"))
    host = await edge(**dict.fromkeys(SERVICES, well) | {"order": limping})
    status, body = await ready(host)
    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"]["order"] == "degraded: (broker)"


async def test_a_lost_service_makes_it_unavailable(service, edge):
    well = await service(reporting(200, store="ok"))
    dead = await service(reporting(503, store="down: locked"))
    host = await edge(**dict.fromkeys(SERVICES[:5], well) | {"shipping": dead})
    status, body = await ready(host)
    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["shipping"] == "down: unavailable (store)"
    assert body["checks"]["tracker"] == "down: no answer"
    response, _ = await host.ask("GET", "/health/live")
    assert response.status == 200


async def test_one_of_two_instances_is_enough_to_go_on(service, edge):
    well = await service(reporting(200, store="ok"))
    both = [well, "http://127.0.0.1:9"]
    host = await edge(**dict.fromkeys(SERVICES, well) | {"order": both})
    status, body = await ready(host)
    assert (status, body["status"]) == (200, "degraded")


async def test_more_may_be_asked_for_readiness(service, edge):
    async def seeded():
        raise SettingError("the seed is not in yet")

    well = await service(reporting(200))
    host = await edge(**dict.fromkeys(SERVICES, well), checks={"seed": Check(seeded)})
    status, body = await ready(host)
    assert (status, body["checks"]["seed"]) == (503, "down: the seed is not in yet")


async def test_metrics_count_by_service(service, edge):
    host = await edge(product=await service(who))
    await host.ask("GET", "/api/products/x")
    await host.ask("GET", "/api/orders")
    _, body = await host.ask("GET", "/metrics")
    assert b'http_requests_total{route="product",method="GET",status="200"} 1' in body
    assert b'http_requests_total{route="order",method="GET",status="502"} 1' in body


async def test_however_many_ask_for_health_a_service_is_asked_now_and_then(service, edge):
    asked = 0

    async def counting(_request):
        nonlocal asked
        asked += 1
        return web.json_response({"status": "ready", "checks": {"store": "ok"}})

    host = await edge(**dict.fromkeys(SERVICES, await service(counting)))
    found = await asyncio.gather(*(ready(host) for _ in range(100)))
    assert {status for status, _ in found} == {200}
    assert asked <= 3 * len(SERVICES)
