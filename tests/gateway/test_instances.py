"""Several instances of a service: they take turns, and one that is gone costs nobody an answer."""

from __future__ import annotations

from collections import Counter

from aiohttp import web

from tests.gateway.conftest import NOBODY


def named(name):
    async def here(_request):
        return web.Response(text=name)

    return here


async def test_instances_take_turns(service, edge):
    host = await edge(order=[await service(named("a")), await service(named("b"))])
    answers = Counter([(await host.ask("GET", "/api/orders"))[1] for _ in range(6)])
    assert answers == {b"a": 3, b"b": 3}


async def test_who_would_have_been_served_by_one_that_is_gone_is_served_by_the_next(service, edge):
    host = await edge(order=[NOBODY, await service(named("b")), NOBODY])
    for method in ("GET", "POST", "DELETE"):
        for _ in range(3):
            response, body = await host.ask(method, "/api/orders")
            assert (response.status, body) == (200, b"b")


async def test_when_none_is_there_the_gateway_says_so(edge):
    host = await edge(order=[NOBODY, NOBODY])
    response, body = await host.ask("GET", "/api/orders")
    assert response.status == 502
    assert b"bad_upstream" in body


async def test_a_request_that_was_sent_is_sent_to_no_other(service, edge):
    arrived = []

    async def breaks_off(request):
        arrived.append(request.method)
        request.transport.close()
        return web.Response()

    host = await edge(order=[await service(breaks_off), await service(breaks_off)])
    response, _ = await host.ask("POST", "/api/orders")
    assert response.status == 502
    assert arrived == ["POST"]
