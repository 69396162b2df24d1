"""The rate limiter: exactly as many as allowed, for each client, however many clients there are."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from gateway.calls import RateLimited, now_s
from gateway.limits import Bucket, ClientLimits, Clients
from tests.gateway.conftest import settings_of
from tests.resilience.world import World, healthy


def limits(**changes):
    return ClientLimits(settings_of({}, changes))


@pytest.mark.parametrize(
    ("subject", "burst", "rate"), [("c1", 400, 200), (None, 100, 50)], ids=["known", "anonymous"]
)
async def test_ten_thousand_at_once_are_one_burst_to_the_last(subject, burst, rate):
    clients = limits()

    async def at_once():
        asked = (clients.take(subject, "192.0.2.1") for _ in range(10_000))
        return sum(allowed for allowed, _, _ in await asyncio.gather(*asked))

    assert await at_once() == burst
    await asyncio.sleep(1.0)
    assert await at_once() == rate
    await asyncio.sleep(60.0)
    assert await at_once() == burst


async def test_a_steady_stream_gets_its_rate():
    clients = limits()
    allowed = 0
    for _ in range(10_000):  # a thousand a second, for ten seconds
        allowed += (await clients.take("c1", ""))[0]
        await asyncio.sleep(0.001)
    assert allowed == pytest.approx(400 + 200 * 10, abs=2)


async def test_each_client_has_its_own():
    clients = limits()
    for number in range(100):
        for _ in range(100):
            assert (await clients.take(None, f"192.0.2.{number}"))[0]
    assert not (await clients.take(None, "192.0.2.7"))[0]
    assert (await clients.take("c1", "192.0.2.7"))[0]


async def test_the_headers_are_the_drafts():
    bucket = Bucket(200, 400)
    assert bucket.headers("customer") == {
        "RateLimit-Policy": '"customer";q=400;w=2',
        "RateLimit": '"customer";r=400;t=1',
    }
    for _ in range(400):
        assert await bucket.take()
    assert bucket.state("customer") == '"customer";r=0;t=1'
    slow = Bucket(0.1, 2)
    assert slow.policy("slow") == '"slow";q=2;w=20'
    for _ in range(2):
        await slow.take()
    # Never sooner than the window says: 10 s until there is room for one more.
    assert slow.state("slow") == '"slow";r=0;t=10'
    assert slow.wait_s == pytest.approx(10.0)
    await asyncio.sleep(10.0)
    assert await slow.take()


async def test_a_hundred_thousand_clients_take_no_more_memory_than_ten_thousand():
    clients = Clients(50, 100, most=10_000)

    async def come(first, last):
        for number in range(first, last):
            await clients.bucket(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}").take()
            if number % 1_000 == 0:
                await asyncio.sleep(0.01)

    tracemalloc.start()
    try:
        await come(0, 10_000)
        few, _ = tracemalloc.get_traced_memory()
        await come(10_000, 100_000)
        many, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(clients) == 10_000
    assert many < 1.1 * few
    assert few < 12_000_000


async def test_a_crowd_does_not_make_it_forget_whom_it_limits():
    clients = Clients(50, 100, most=1_000)

    async def allowed(client):
        return await clients.bucket(client).take()

    assert sum([await allowed("flooder") for _ in range(200)]) == 100
    for number in range(100_000):
        await allowed(f"crowd {number}")
    assert not await allowed("flooder")
    assert len(clients) == 1_000


async def test_in_a_crowd_newcomers_share_what_one_client_has():
    clients = Clients(50, 100, most=1_000)
    for number in range(1_000):
        await clients.bucket(f"crowd {number}").take()
    newcomers = [await clients.bucket(f"new {number}").take() for number in range(1_000)]
    assert sum(newcomers) == 100
    await asyncio.sleep(1.0)  # the crowd has been quiet: its places are free again
    assert all([await clients.bucket(f"newer {number}").take() for number in range(1_000)])


async def test_all_clients_together_have_a_limit_at_each_service():
    world = World({"order": healthy, "product": healthy}, upstream_rate_per_s=10, upstream_burst=20)
    for number in range(20):
        assert await world.said("order", client=f"c{number}") == "200"
    with pytest.raises(RateLimited) as refused:
        await world.ask("order", client="another")
    assert (refused.value.status, refused.value.code) == (429, "rate_limited")
    assert refused.value.headers == {
        "Retry-After": "1",
        "RateLimit-Policy": '"order";q=20;w=2',
        "RateLimit": '"order";r=0;t=1',
    }
    assert await world.said("product") == "200"
    await asyncio.sleep(0.1)
    assert await world.said("order") == "200"
    assert now_s() == pytest.approx(0.1)
    assert 'gateway_refused_total{upstream="order",code="rate_limited"} 1' in world.metrics.render()
