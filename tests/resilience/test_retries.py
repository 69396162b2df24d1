"""Retries: what is repeated, when, how often, and never so much that an outage grows."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from statistics import mean

import pytest

from gateway.calls import now_s
from tests.resilience.world import (
    World,
    absent,
    answer,
    at_rate,
    dropping,
    failing,
    hanging,
    healthy,
)

NEVER_OPEN = {"breaker_min_calls": 1_000_000}


def flaky(*outcomes):
    """These first, then health. An outcome is a service."""
    left = list(outcomes)

    async def service(request):
        return await (left.pop(0) if left else healthy)(request)

    return service


async def unavailable(_request):
    return answer(503)


@pytest.mark.parametrize("fault", [dropping, absent, unavailable])
async def test_a_read_survives_two_faults(fault):
    world = World({"order": flaky(fault, fault)})
    assert await world.said("order") == "200"
    assert world.sent["http://order"] == 3


@pytest.mark.parametrize("fault", [dropping, unavailable])
async def test_three_calls_are_the_most(fault):
    world = World({"order": fault})
    assert await world.said("order") in ("bad_upstream", "503")
    assert world.sent["http://order"] == 3


async def test_a_fault_that_would_only_happen_again_is_not_repeated():
    for status in (500, 501, 404, 409, 429):

        async def no(_request, status=status):
            return answer(status)

        world = World({"order": no})
        assert await world.said("order") == str(status)
        assert world.sent["http://order"] == 1


@pytest.mark.parametrize(
    ("method", "headers", "calls"),
    [
        ("GET", {}, 2),
        ("HEAD", {}, 2),
        ("OPTIONS", {}, 2),
        ("PUT", {}, 2),
        ("DELETE", {}, 2),
        ("POST", {"Idempotency_Key": "k"}, 2),
        ("POST", {}, 1),
        ("PATCH", {}, 1),
        # The services know the key on POST only.
        ("PATCH", {"Idempotency_Key": "k"}, 1),
        # If the first was done, the second would be told that its version is stale.
        ("PUT", {"If_Match": '"1"'}, 1),
        ("DELETE", {"If_Match": '"1"'}, 1),
    ],
)
async def test_only_what_does_no_more_the_second_time_is_repeated(method, headers, calls):
    world = World({"order": flaky(dropping)})
    assert await world.said("order", method, **headers) == ("200" if calls == 2 else "bad_upstream")
    assert world.sent["http://order"] == calls


async def test_the_waits_grow_and_each_is_a_random_share_of_its_full_length():
    first, second = [], []
    for seed in range(300):
        times = []

        async def service(request, times=times):
            times.append(now_s())
            return await dropping(request)

        await World({"order": service}, seed=seed).said("order")
        first.append(times[1] - times[0])
        second.append(times[2] - times[1])
    for waits, longest_s in ((first, 0.05), (second, 0.1)):
        assert max(waits) <= longest_s
        assert min(waits) < 0.05 * longest_s
        assert mean(waits) == pytest.approx(longest_s / 2, rel=0.15)


async def test_no_wait_is_longer_than_the_longest():
    times = []

    async def service(request):
        times.append(now_s())
        return await dropping(request)

    limits = {"retry_attempts": 10, "retry_floor": 100, "retry_backoff_max_ms": 80}
    world = World({"order": service}, **limits)
    await world.said("order")
    assert len(times) == 10
    assert all(after - before <= 0.08 for before, after in pairwise(times))


async def test_a_service_that_says_when_to_come_again_is_left_alone_until_then():
    async def busy(_request):
        return answer(503, Retry_After="1")

    world = World({"order": flaky(busy)})
    assert await world.said("order") == "200"
    assert now_s() == pytest.approx(1.0)


async def test_when_that_is_too_far_off_the_client_is_told_instead():
    async def busy(_request):
        return answer(503, Retry_After="5")

    world = World({"order": busy})
    told = await world.ask("order")
    assert (told.status, told.headers["Retry-After"], now_s()) == (503, "5", 0.0)
    assert world.sent["http://order"] == 1


async def test_the_time_shrinks_from_try_to_try():
    left = []

    async def slow(request):
        left.append(request.left_s)
        await asyncio.sleep(2.0)
        return await dropping(request)

    world = World({"order": slow})
    assert await world.said("order", within_s=5.0) == "upstream_timeout"
    assert left[0] == pytest.approx(5.0)
    assert 2.9 <= left[1] <= 3.0
    assert 0.8 <= left[2] <= 1.0
    assert now_s() == pytest.approx(5.0)


async def test_no_try_begins_after_the_deadline():
    world = World({"order": hanging})
    assert await world.said("order", within_s=5.0) == "upstream_timeout"
    assert (world.sent["http://order"], now_s()) == (1, 5.0)


async def test_nothing_is_repeated_for_a_client_who_has_gone():
    limits = {"retry_backoff_ms": 10_000, "retry_backoff_max_ms": 10_000}
    world = World({"order": dropping}, **limits)
    call = asyncio.ensure_future(world.ask("order"))
    await asyncio.sleep(0.001)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.sleep(60.0)
    assert world.sent["http://order"] == 1


async def test_waiting_for_the_next_try_holds_no_place_in_the_bulkhead():
    async def busy(_request):
        return answer(503, Retry_After="1")

    world = World({"order": flaky(busy)}, bulkhead_calls=1, bulkhead_queue=0)
    waiting = asyncio.ensure_future(world.said("order"))
    await asyncio.sleep(0.5)
    assert await world.said("order") == "200"
    assert await waiting == "200"


async def test_what_the_gateway_itself_refuses_is_not_repeated():
    world = World({"order": hanging}, bulkhead_calls=1, bulkhead_queue=0)
    hung = asyncio.ensure_future(world.said("order"))
    await asyncio.sleep(0)
    assert await world.said("order") == "overloaded"
    assert world["order"].budget.retries.total() == 0
    assert await hung == "upstream_timeout"


# ------------------------------------------------------------------------------------ the budget


@pytest.mark.parametrize("fault", [dropping, unavailable])
@pytest.mark.parametrize("healthy_s", [0.0, 30.0])
async def test_a_storm_adds_a_fifth_at_most(fault, healthy_s):
    """Everything fails for 30 s, and no breaker helps."""
    world = World({"order": healthy}, **NEVER_OPEN)
    if healthy_s:
        await at_rate(100.0, healthy_s, lambda: world.said("order"))
    world.services["http://order"] = fault
    before = world.sent["http://order"]
    asked = len(await at_rate(100.0, 30.0, lambda: world.said("order"), seed=1))
    sent = world.sent["http://order"] - before
    assert asked > 2_500
    assert sent > asked  # or this would show nothing
    assert sent <= 1.2 * asked


async def test_with_its_breaker_a_storm_is_hardly_felt():
    world = World({"order": dropping})
    asked = len(await at_rate(100.0, 30.0, lambda: world.said("order")))
    assert world.sent["http://order"] <= 50
    assert asked > 2_500


async def test_a_lone_client_has_its_retry_too():
    world = World({"order": flaky(dropping)})
    assert await world.said("order") == "200"


async def test_without_a_floor_the_share_is_strict():
    world = World({"order": dropping}, retry_floor=0, **NEVER_OPEN)
    for _ in range(5):
        await world.said("order")
    assert world.sent["http://order"] == 5
    await world.said("order")
    assert world.sent["http://order"] == 7


async def test_a_fault_in_one_service_spends_no_other_services_budget():
    world = World({"order": failing, "product": flaky(dropping)}, **NEVER_OPEN)
    world.services["http://order"] = dropping
    for _ in range(50):
        await world.said("order")
    assert await world.said("product") == "200"
