"""Services that fail in every way, on real sockets: what exactly their clients are told."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest
from aiohttp import web

from tests.gateway.test_refusals import problem

OFTEN = 40


async def hang(_request):
    await asyncio.Event().wait()


async def fail(_request):
    return web.Response(status=500, text="<h1>Traceback</h1>", content_type="text/html")


async def drop(request):
    request.transport.abort()
    return web.Response()


async def crawl(request):
    """Byte by byte, of an answer that tells its length."""
    response = web.StreamResponse()
    response.content_length = 1_000
    return await drip(request, response)


async def crawl_on(request):
    """Byte by byte, until it ends."""
    return await drip(request, web.StreamResponse())


async def drip(request, response):
    await response.prepare(request)
    for _ in range(1_000):
        await response.write(b"x")
        await asyncio.sleep(0.02)
    return response


async def fine(_request):
    return web.json_response({})


TROUBLE = {
    "hangs": (hang, (504, "upstream_timeout")),
    "fails": (fail, (502, "bad_upstream")),
    "drops": (drop, (502, "bad_upstream")),
    "crawls": (crawl, (504, "upstream_timeout")),
    "crawls on": (crawl_on, (504, "upstream_timeout")),
}


def told(answer):
    response, body = answer
    if response.content_type != "application/problem+json":
        return response.status, None
    return problem((response, body))


@pytest.mark.parametrize("mode", TROUBLE)
async def test_each_trouble_has_its_answer_and_opens_the_breaker(service, edge, mode):
    handler, expected = TROUBLE[mode]
    limits = {"upstream_timeout_s": 0.3, "breaker_open_s": 0.2, "anonymous_burst": 1_000}
    well, ill = await service(fine), await service(handler)
    host = await edge(order=ill, product=well, limits=limits)
    seen = Counter(
        told(answer)
        for answer in await asyncio.gather(*(host.ask("GET", "/api/orders") for _ in range(OFTEN)))
    )
    assert set(seen) <= {expected, (503, "circuit_open")}
    assert seen[expected] >= 20
    response, body = await host.ask("GET", "/api/orders")
    assert problem((response, body)) == (503, "circuit_open")
    assert response.headers["Retry-After"] == "1"
    assert told(await host.ask("GET", "/api/products")) == (200, None)
    assert (await host.ask("GET", "/health/live"))[0].status == 200


@pytest.mark.parametrize("mode", TROUBLE)
async def test_when_it_is_well_again_nobody_has_to_do_anything(service, edge, mode):
    is_well = asyncio.Event()
    trouble, _ = TROUBLE[mode]

    async def recovering(request):
        return await (fine if is_well.is_set() else trouble)(request)

    limits = {"breaker_open_s": 0.05, "anonymous_burst": 1_000, "upstream_timeout_s": 0.3}
    host = await edge(order=await service(recovering), limits=limits)
    seen = []
    while (503, "circuit_open") not in seen:
        asked = (host.ask("GET", "/api/orders") for _ in range(20))
        seen = [told(answer) for answer in await asyncio.gather(*asked)]
    is_well.set()
    async with asyncio.timeout(5):
        while True:
            if told(await host.ask("GET", "/api/orders")) == (200, None):
                break
            await asyncio.sleep(0.01)
    for _ in range(10):
        assert told(await host.ask("GET", "/api/orders")) == (200, None)


async def test_a_silent_service_is_given_up_before_a_slow_one(service, edge):
    async def slow(request):
        response = web.StreamResponse()
        response.content_length = 8
        await response.prepare(request)
        for _ in range(8):
            await asyncio.sleep(0.05)
            await response.write(b"x")
        return response

    limits = {"read_timeout_s": 0.2, "retry_attempts": 1}
    host = await edge(order=await service(hang), product=await service(slow), limits=limits)
    async with asyncio.timeout(5):
        assert problem(await host.ask("GET", "/api/orders")) == (504, "upstream_timeout")
    assert told(await host.ask("GET", "/api/products")) == (200, None)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
async def test_nothing_is_sent_more_often_than_the_gateway_means_to(service, edge, method):
    """aiohttp's client would by itself repeat what is idempotent on a lost connection."""
    arrived = []

    async def count(request):
        arrived.append(request.method)
        return await drop(request)

    host = await edge(order=await service(count), limits={"retry_attempts": 1})
    assert problem(await host.ask(method, "/api/orders")) == (502, "bad_upstream")
    assert arrived == [method]


async def test_a_read_is_repeated_on_a_new_connection(service, edge):
    arrived = []

    async def once_bitten(request):
        arrived.append(request)
        return await (drop if len(arrived) == 1 else fine)(request)

    host = await edge(order=await service(once_bitten))
    assert told(await host.ask("GET", "/api/orders")) == (200, None)
    assert told(await host.ask("POST", "/api/orders", headers={"Idempotency-Key": "k"}))[0] == 200
    assert len(arrived) == 3


async def test_nothing_is_repeated_once_the_client_has_gone(service, edge):
    arrived = asyncio.Event()
    count = 0

    async def bite(request):
        nonlocal count
        count += 1
        arrived.set()
        return await drop(request)

    limits = {"retry_backoff_ms": 200, "retry_backoff_max_ms": 200}  # the ids' chance is a half
    host = await edge(order=await service(bite), limits=limits)
    call = asyncio.ensure_future(host.ask("GET", "/api/orders"))
    await arrived.wait()
    await asyncio.sleep(0.02)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await asyncio.sleep(0.2)
    assert count == 1


async def test_the_service_is_told_how_long_the_client_waits(service, edge):
    told_ms = []

    async def listen(request):
        told_ms.append(int(request.headers["X-Request-Timeout-Ms"]))
        if len(told_ms) == 1:
            await asyncio.sleep(0.2)
            return await drop(request)
        return web.json_response({})

    host = await edge(order=await service(listen), limits={"upstream_timeout_s": 1.0})
    await host.ask("GET", "/api/orders")
    assert 950 <= told_ms[0] <= 1_000
    assert told_ms[1] <= told_ms[0] - 200
    await host.ask("GET", "/api/orders", headers={"X-Request-Timeout-Ms": "300"})
    assert 250 <= told_ms[2] <= 300
    await host.ask("GET", "/api/orders", headers={"X-Request-Timeout-Ms": "999999999"})
    assert 950 <= told_ms[3] <= 1_000
    await host.ask("POST", "/api/orders", headers={"Prefer": "wait=7"})
    assert 7_950 <= told_ms[4] <= 8_000


async def test_a_client_may_wait_for_less(service, edge):
    host = await edge(order=await service(hang))
    answer = await host.ask("GET", "/api/orders", headers={"X-Request-Timeout-Ms": "50"})
    assert problem(answer) == (504, "upstream_timeout")


async def test_too_much_at_once_is_refused(service, edge):
    bulkhead = {"bulkhead_calls": 2, "bulkhead_queue": 1, "bulkhead_wait_ms": 50}
    limits = {**bulkhead, "upstream_timeout_s": 0.3}
    host = await edge(order=await service(hang), product=await service(fine), limits=limits)
    answers = await asyncio.gather(*(host.ask("GET", "/api/orders") for _ in range(10)))
    seen = Counter(map(problem, answers))
    assert seen == {(504, "upstream_timeout"): 2, (503, "overloaded"): 8}
    for response, _ in answers:
        if response.status == 503:
            assert response.headers["Retry-After"] == "1"
    assert told(await host.ask("GET", "/api/products")) == (200, None)


async def test_products_are_shown_as_they_were(service, edge):
    lamp = {"sku": "LAMP-01", "available": 3}
    is_well = True

    async def product(request):
        return web.json_response(lamp, headers={"ETag": '"1"'}) if is_well else await drop(request)

    host = await edge(product=await service(product))
    await host.ask("GET", "/api/products/LAMP-01")
    is_well = False
    response, body = await host.ask("GET", "/api/products/LAMP-01")
    assert (response.status, json.loads(body)) == (200, {"sku": "LAMP-01", "available": None})
    assert response.headers["Age"] == "0"
    assert response.headers["Cache-Status"] == "gateway; hit; ttl=0; detail=bad_upstream"
    assert "ETag" not in response.headers
    assert problem(await host.ask("PUT", "/api/products/LAMP-01")) == (502, "bad_upstream")


async def test_one_hurried_client_opens_no_breaker(service, edge):
    """Fifty who wait for a millisecond each: the service is well, and everybody else is served."""

    async def slow(_request):
        await asyncio.sleep(0.05)
        return web.json_response({})

    host = await edge(order=await service(slow), limits={"retry_attempts": 1})
    hurried = {"headers": {"X-Request-Timeout-Ms": "1"}}
    answers = await asyncio.gather(*(host.ask("GET", "/api/orders", **hurried) for _ in range(50)))
    assert set(map(told, answers)) == {(504, "upstream_timeout")}
    assert told(await host.ask("GET", "/api/orders")) == (200, None)


async def test_a_service_that_sheds_load_is_asked_again(service, edge):
    """Too many sign-ins at once must not keep everybody from their account."""
    too_much = {"code": "overloaded", "status": 503}

    async def busy(request):
        if request.method == "GET":
            return web.json_response({})
        return web.json_response(too_much, status=503, content_type="application/problem+json")

    host = await edge(customer=await service(busy), limits={"anonymous_burst": 1_000})
    for _ in range(50):
        response, _ = await host.ask("POST", "/api/sessions")
        assert response.status == 503
    assert told(await host.ask("GET", "/api/customers/me")) == (200, None)
    _, metrics = await host.ask("GET", "/metrics")
    assert b'gateway_calls_total{upstream="customer",outcome="shed"} 50' in metrics
