"""Bulkheads and load shedding: one service's trouble is its own, and too much is refused early."""

from __future__ import annotations

import asyncio

import pytest

from gateway.calls import Overloaded, RateLimited, now_s
from gateway.settings import UpstreamLimits
from tests.resilience.world import (
    World,
    answer,
    at_rate,
    dropping,
    failing,
    hanging,
    healthy,
    quantile,
    taking,
)


async def started(world, count, **options):
    """So many calls that hang."""
    calls = [asyncio.ensure_future(world.said("order", **options)) for _ in range(count)]
    await asyncio.sleep(0)
    return calls


async def test_so_many_run_so_many_wait_and_the_rest_is_refused_at_once():
    world = World({"order": taking(0.1)}, bulkhead_calls=10, bulkhead_queue=5)
    calls = await started(world, 16)
    bulkhead = world["order"].bulkhead
    assert (bulkhead.running, bulkhead.queued) == (10, 5)
    with pytest.raises(Overloaded) as refused:
        await world.ask("order")
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    assert (refused.value.headers["Retry-After"], now_s()) == ("1", 0.0)
    said = await asyncio.gather(*calls)
    assert (said.count("200"), said.count("overloaded")) == (15, 1)
    assert (bulkhead.running, bulkhead.queued) == (0, 0)


async def test_nobody_waits_for_longer_than_the_limit():
    world = World({"order": hanging}, bulkhead_calls=1, bulkhead_wait_ms=200)
    hung = await started(world, 1)
    assert await world.said("order") == "overloaded"
    assert now_s() == pytest.approx(0.2)
    await asyncio.gather(*hung)


async def test_who_came_first_is_served_first():
    world = World({"order": taking(0.01)}, bulkhead_calls=1)
    served = []

    async def one(number):
        await world.ask("order")
        served.append(number)

    await asyncio.gather(*(one(number) for number in range(10)))
    assert served == list(range(10))


async def test_who_leaves_the_queue_leaves_no_gap():
    world = World({"order": taking(0.1)}, bulkhead_calls=1, bulkhead_queue=2)
    running, leaving, staying = await started(world, 3)
    leaving.cancel()
    await asyncio.sleep(0)
    late = await started(world, 1)
    assert await asyncio.gather(running, staying, *late) == ["200"] * 3
    assert (world["order"].bulkhead.running, world["order"].bulkhead.queued) == (0, 0)


@pytest.mark.parametrize("service", [failing, dropping])
async def test_failures_give_their_places_back(service):
    world = World({"order": service}, bulkhead_calls=2, breaker_min_calls=1_000_000)
    for _ in range(10):
        await world.said("order")
    assert world["order"].bulkhead.running == 0


# -------------------------------------------------------------------------- waits and streams


async def test_those_who_wait_by_intention_take_nobody_elses_place():
    world = World({"order": hanging}, bulkhead_calls=2, long_calls=3)
    waits = await started(world, 3, is_long=True, within_s=45.0)
    world.services["http://order"] = healthy
    assert await world.said("order") == "200"
    with pytest.raises(Overloaded):
        await world.ask("order", is_long=True)
    assert set(await asyncio.gather(*waits)) == {"upstream_timeout"}
    assert await world.said("order", is_long=True) == "200"


async def test_no_client_takes_all_their_places():
    world = World({"order": hanging}, long_calls=10, long_calls_each=4)
    waits = await started(world, 4, is_long=True, client="greedy")
    with pytest.raises(RateLimited) as refused:
        await world.ask("order", is_long=True, client="greedy")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": '"long";q=4;qu="concurrent-requests"',
        "RateLimit": '"long";r=0;t=1',
    }
    world.services["http://order"] = healthy
    assert await world.said("order", is_long=True, client="other") == "200"
    await asyncio.gather(*waits)
    assert await world.said("order", is_long=True, client="greedy") == "200"
    assert not world["order"].long._of  # who has gone is not remembered


async def test_no_address_takes_all_their_places_with_many_accounts():
    world = World({"order": hanging}, long_calls=10, long_calls_each=4, long_calls_address=6)
    waits = []
    for client in ("one", "two"):
        waits += await started(world, 3, is_long=True, client=client, address="theirs")
    with pytest.raises(RateLimited) as refused:
        await world.ask("order", is_long=True, client="three", address="theirs")
    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": '"long-address";q=6;qu="concurrent-requests"',
        "RateLimit": '"long-address";r=0;t=1',
    }
    world.services["http://order"] = healthy
    assert await world.said("order", is_long=True, client="three", address="other") == "200"
    await asyncio.gather(*waits)
    assert await world.said("order", is_long=True, client="three", address="theirs") == "200"
    assert not world["order"].long._from  # who has gone is not remembered


def test_by_default_one_address_leaves_half_of_them_to_others():
    limits = UpstreamLimits()
    assert limits.long_calls_each <= limits.long_calls_address <= limits.long_calls / 2


async def test_a_stream_keeps_its_place_until_it_is_closed():
    class Rest:
        def close(self):
            pass

    async def stream(_request):
        streaming = answer()
        streaming.rest = Rest()
        return streaming

    world = World({"order": stream})
    streaming = await world.ask("order", is_long=True)
    assert world["order"].long.running == 1
    streaming.close()
    streaming.close()
    assert world["order"].long.running == 0


# ------------------------------------------------------------------------------------ isolation


@pytest.mark.parametrize("mode", ["hangs", "fails", "drops", "crawls"])
async def test_one_services_trouble_is_not_felt_at_the_others(mode):
    """Other routes' p99 rises by less than a fifth, whatever happens to one service."""

    async def others_p99(order):
        world = World({"order": order, "product": taking(0.02, spread=0.9)}, bulkhead_calls=16)
        others, troubled = await asyncio.gather(
            at_rate(400.0, 10.0, lambda: world.said("product"), seed=1),
            at_rate(400.0, 10.0, lambda: world.said("order", within_s=5.0), seed=2),
        )
        assert {said for said, _ in others} == {"200"}
        return quantile([took for _, took in others], 0.99), {said for said, _ in troubled}

    async def crawling(_request):
        await asyncio.sleep(60.0)  # byte by byte: complete at some time
        return answer()

    trouble, expected = {
        "hangs": (hanging, {"upstream_timeout", "overloaded", "circuit_open"}),
        "fails": (failing, {"500", "circuit_open"}),
        "drops": (dropping, {"bad_upstream", "circuit_open"}),
        "crawls": (crawling, {"upstream_timeout", "overloaded", "circuit_open"}),
    }[mode]
    calm, said = await others_p99(taking(0.02, spread=0.9, seed=1))
    assert said == {"200"}
    storm, said = await others_p99(trouble)
    assert said == expected
    assert storm < 1.2 * calm


# -------------------------------------------------------------------------------- load shedding


async def test_at_five_times_capacity_those_accepted_are_answered_in_bounded_time():
    """20 at a time, 50 ms each: 400 a second is what the service can do."""
    world = World({"order": taking(0.05)}, bulkhead_calls=20, bulkhead_queue=20)
    said = await at_rate(2_000.0, 5.0, lambda: world.said("order"))
    accepted = [took for what, took in said if what == "200"]
    refused = [took for what, took in said if what == "overloaded"]
    assert len(accepted) + len(refused) == len(said)
    assert len(accepted) / 5.0 == pytest.approx(400.0, rel=0.02)  # nothing is lost to shedding
    assert quantile(accepted, 0.99) <= 0.1001  # a turn in the queue, and its own
    assert max(refused) == 0.0


async def test_a_service_that_gets_slower_the_more_it_has_to_do_is_kept_at_its_best():
    """One processor, 2 ms a request: 500 a second. Unprotected, each would wait for all others."""
    processor = asyncio.Lock()

    async def one_by_one(_request):
        async with processor:
            await asyncio.sleep(0.002)
        return answer()

    async def p99(**limits):
        world = World({"order": one_by_one}, upstream_rate_per_s=10_000, **limits)
        said = await at_rate(2_500.0, 4.0, lambda: world.said("order", within_s=60.0))
        done = [took for what, took in said if what == "200"]
        return quantile(done, 0.99), len(done)

    took_s, done = await p99()
    assert took_s <= 256 * 0.002 + 0.5  # its turn among those let in, and the wait to be let in
    assert 0.99 * 4 * 500 <= done <= 4 * 500 + 512  # it was never idle
    unprotected_s, _ = await p99(bulkhead_calls=1_000_000)
    assert unprotected_s > 10 * took_s  # ever more, the longer it goes on
