"""What is shown of products while their service is away: old, marked as old, and without stock."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.resilience.world import World, answer, dropping, failing, hanging

LAMP = {"sku": "LAMP-01", "name": "Lamp", "price": {"amount": 1}, "available": 7, "version": 3}
PAGE = {"items": [LAMP, {**LAMP, "sku": "MUG-01"}], "next_cursor": "x"}


async def catalogue(request):
    body = PAGE if request.target.partition("?")[0] == "/api/products" else LAMP
    return answer(200, orjson.dumps(body), ETag='"3"')


async def absent_product(_request):
    return answer(404)


async def refusing(_request):
    return answer(503)


def product(world, target="/api/products/LAMP-01", **options):
    return world.ask("product", target=target, **options)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (dropping, "bad_upstream"),
        (hanging, "upstream_timeout"),
        (failing, "500"),
        (refusing, "503"),
    ],
)
async def test_a_product_read_before_is_shown_marked_as_old(fault, why):
    world = World({"product": catalogue}, retry_attempts=1)
    fresh = await product(world)
    assert orjson.loads(fresh.body) == LAMP
    assert "Age" not in fresh.headers
    await asyncio.sleep(42.0)
    world.services["http://product"] = fault
    old = await product(world, within_s=0.5)
    assert old.status == 200
    assert orjson.loads(old.body) == {**LAMP, "available": None}
    assert dict(old.headers) == {
        "Content-Type": "application/json",
        "Age": "42",
        "Cache-Status": f"gateway; hit; ttl=-42; detail={why}",
        "Cache-Control": "no-store",
    }
    assert 'gateway_stale_total{upstream="product"} 1' in world.metrics.render()


async def test_also_at_once_while_the_breaker_is_open():
    world = World({"product": catalogue}, retry_attempts=1)
    await product(world)
    world.services["http://product"] = dropping
    for _ in range(40):
        assert (await product(world)).status == 200
    assert world.sent["http://product"] == 20
    old = await product(world)
    assert old.headers["Cache-Status"].endswith("detail=circuit_open")


async def test_no_item_of_a_list_tells_its_stock():
    world = World({"product": catalogue}, retry_attempts=1)
    await product(world, "/api/products?limit=2")
    world.services["http://product"] = dropping
    old = orjson.loads((await product(world, "/api/products?limit=2")).body)
    assert [each["available"] for each in old["items"]] == [None, None]
    assert old["next_cursor"] == "x"
    assert await world.said("product", target="/api/products?limit=3") == "bad_upstream"


async def test_what_is_too_old_is_not_shown():
    world = World({"product": catalogue}, stale_for_s=300.0, retry_attempts=1)
    await product(world)
    world.services["http://product"] = dropping
    await asyncio.sleep(301.0)
    assert await world.said("product", target="/api/products/LAMP-01") == "bad_upstream"


async def test_a_write_is_never_faked_and_makes_what_was_read_before_worthless():
    world = World({"product": catalogue}, retry_attempts=1)
    await product(world)
    world.services["http://product"] = dropping
    for method in ("PUT", "POST", "PATCH", "DELETE"):
        said = await world.said("product", method, target="/api/products/LAMP-01")
        assert said == "bad_upstream"
    # Perhaps one of them was done.
    assert await world.said("product", target="/api/products/LAMP-01") == "bad_upstream"


async def refusing_writes(request):
    return await catalogue(request) if request.method == "GET" else answer(401)


async def test_a_write_that_was_refused_or_not_sent_changes_nothing():
    """Or anybody without a token could take from all what is kept for an outage."""
    world = World({"product": refusing_writes}, retry_attempts=1)
    await product(world)
    assert (await product(world, method="POST")).status == 401
    world.services["http://product"] = dropping
    for _ in range(40):
        assert (await product(world)).status == 200
    assert await world.said("product", "POST", target="/api/products/LAMP-01") == "circuit_open"
    assert (await product(world)).status == 200


async def test_what_is_gone_is_not_shown_again():
    world = World({"product": catalogue}, retry_attempts=1)
    await product(world)
    world.services["http://product"] = absent_product
    assert (await product(world)).status == 404
    world.services["http://product"] = dropping
    assert await world.said("product", target="/api/products/LAMP-01") == "bad_upstream"


async def test_no_other_services_reads_are_kept():
    for service in ("inventory", "order", "payment", "customer", "shipping", "tracker"):
        world = World({service: catalogue}, retry_attempts=1)
        await world.ask(service, target="/api/inventory/LAMP-01")
        world.services[f"http://{service}"] = dropping
        assert await world.said(service, target="/api/inventory/LAMP-01") == "bad_upstream"


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"{}", {"Content_Type": "text/html"}),
        (orjson.dumps(LAMP), {"Cache_Control": "max-age=5, private"}),
        (orjson.dumps(LAMP), {"Cache_Control": "no-store"}),
        (b"no json", {}),
        (b"[]", {}),
        (b'{"items": [1]}', {}),
    ],
)
async def test_what_is_private_or_no_product_is_not_shown(body, headers):
    async def other(_request):
        kind = headers.get("Content_Type", "application/json")
        return answer(200, body, **{**headers, "Content_Type": kind})

    world = World({"product": other}, retry_attempts=1)
    await product(world)
    world.services["http://product"] = dropping
    assert await world.said("product", target="/api/products/LAMP-01") == "bad_upstream"


async def test_the_memory_is_bounded_and_keeps_the_latest():
    world = World({"product": catalogue}, stale_cache_bytes=100_000, retry_attempts=1)
    for number in range(2_000):
        await product(world, f"/api/products?q={number}")
    world.services["http://product"] = dropping
    shown = [
        number
        for number in range(2_000)
        if await world.said("product", target=f"/api/products?q={number}") == "200"
    ]
    assert shown == list(range(2_000 - len(shown), 2_000))
    assert 50 < len(shown) < 150


async def test_nothing_is_kept_when_there_is_no_memory_for_it():
    world = World({"product": catalogue}, stale_cache_bytes=0, retry_attempts=1)
    await product(world)
    world.services["http://product"] = failing
    assert await world.said("product", target="/api/products/LAMP-01") == "500"
