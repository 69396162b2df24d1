"""What tells nothing of a service's health: no haste, and no refusal of too much, opens
the breaker for everybody."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.calls import now_s
from tests.resilience.test_breaker import ONCE, breaker, opened
from tests.resilience.world import World, answer, at_rate, hanging, healthy, taking


def problem(code, status=503, **headers):
    body = json.dumps({"code": code, "status": status}).encode()
    return answer(status, body, Content_Type="application/problem+json", **headers)


async def shedding(_request):
    return problem("overloaded", Retry_After="1")


# -------------------------------------------------------------------------------- load shedding


async def test_a_service_that_sheds_load_is_not_ill():
    world = World({"order": shedding}, **ONCE)
    for _ in range(200):
        assert await world.said("order") == "503"
    assert breaker(world).state == "closed"
    assert breaker(world).counts == (0, 0.0)
    rendered = world.metrics.render()
    assert 'gateway_calls_total{upstream="order",outcome="shed"} 200' in rendered
    assert 'outcome="failed"' not in rendered
    assert world["order"].watch.shed.total() == 200
    assert not world["order"].watch.latest


async def test_what_was_shed_is_tried_again_when_the_service_asks_for_it():
    count = 0

    async def at_first_too_much(request):
        nonlocal count
        count += 1
        return await (shedding if count == 1 else healthy)(request)

    world = World({"order": at_first_too_much})
    began = now_s()
    assert await world.said("order") == "200"
    assert now_s() - began == pytest.approx(1.0)


@pytest.mark.parametrize(
    "said",
    [
        problem("unavailable"),
        problem("overloaded", 500),
        problem("overloaded", 504),
        answer(503, b'{"code": "overloaded"}'),
        answer(503, b"overloaded", Content_Type="application/problem+json"),
        answer(503, b'["overloaded"]', Content_Type="application/problem+json"),
        answer(503, b"[" * 100_000, Content_Type="application/problem+json"),
        answer(
            503,
            b'{"code": "overloaded", "x": "' + b"x" * 100_000 + b'"}',
            Content_Type="application/problem+json",
        ),
    ],
)
async def test_whatever_else_a_service_says_is_a_failure(said):
    async def ill(_request):
        return said

    world = World({"order": ill}, **ONCE)
    for _ in range(20):
        assert await world.said("order") == str(said.status)
    assert breaker(world).state == "open"


async def test_shedding_hides_no_failures():
    """Neither counts it as a success: half of what is judged fails, and that is enough."""
    turn = 0

    async def mixed(request):
        nonlocal turn
        turn += 1
        if turn % 4:
            return await shedding(request)
        return answer(500 if turn % 8 else 200)

    world = World({"order": mixed}, **ONCE)
    for _ in range(168):
        await world.said("order")
    assert breaker(world).state == "open"


async def test_a_probe_that_is_shed_decides_nothing():
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = shedding
    assert await world.said("order") == "503"
    assert breaker(world).state == "half_open"
    world.services["http://order"] = healthy
    assert await world.said("order") == "200"
    assert breaker(world).state == "closed"


async def test_a_service_that_always_sheds_harms_itself_alone():
    """It gets no more than its share and the retry budget allow; the others notice nothing."""
    world = World({"order": shedding, "product": taking(0.01)}, bulkhead_calls=5)
    orders, products = await asyncio.gather(
        at_rate(50.0, 20.0, lambda: world.said("order")),
        at_rate(50.0, 20.0, lambda: world.said("product"), seed=1),
    )
    assert {said for said, _ in products} == {"200"}
    assert max(took for _, took in products) < 0.02
    assert world.sent["http://order"] <= 1.2 * len(orders)


# ----------------------------------------------------------------------------- a client's own haste


@pytest.mark.parametrize("service", [hanging, taking(1.0)])
async def test_who_waits_for_a_moment_only_opens_nothing(service):
    world = World({"order": service}, **ONCE)
    for _ in range(50):
        assert await world.said("order", within_s=0.001, is_hurried=True) == "upstream_timeout"
    assert breaker(world).counts == (0, 0.0)
    assert 'gateway_calls_total{upstream="order",outcome="hurried"} 50' in world.metrics.render()


async def test_a_service_that_gives_up_in_a_clients_time_is_not_ill():
    async def gave_up(_request):
        return problem("upstream_timeout", 504)

    world = World({"order": gave_up}, **ONCE)
    for _ in range(50):
        assert await world.said("order", is_hurried=True) == "504"
    assert breaker(world).state == "closed"
    for _ in range(20):
        assert await world.said("order") == "504"
    assert breaker(world).state == "open"


async def test_a_failure_is_one_however_hurried_the_client():
    world = World({"order": healthy}, **ONCE)
    world.services["http://order"] = lambda _request: asyncio.sleep(0, answer(500))
    for _ in range(20):
        assert await world.said("order", within_s=0.5, is_hurried=True) == "500"
    assert breaker(world).state == "open"
