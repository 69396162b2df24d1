"""``GET /api/gateway/upstreams``: what staff see of each service, and of its troubles."""

from __future__ import annotations

import asyncio
import json
import re

from aiohttp import web

from gateway.settings import SERVICE_PORTS
from tests.gateway.test_limits import bearer
from tests.gateway.test_refusals import problem

PATH = "/api/gateway/upstreams"


async def report(host, query=""):
    response, body = await host.ask("GET", PATH + query, headers=bearer("s1", "staff"))
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    return json.loads(body)


async def test_it_is_for_staff(edge):
    host = await edge()
    assert problem(await host.ask("GET", PATH)) == (401, "unauthenticated")
    assert problem(await host.ask("GET", PATH, headers=bearer("c1"))) == (403, "forbidden")
    answer = await host.ask("POST", PATH, headers=bearer("s1", "staff"))
    assert problem(answer) == (405, "method_not_allowed")
    assert answer[0].headers["Allow"] == "GET,HEAD"
    answer = await host.ask("GET", PATH + "?x=1", headers=bearer("s1", "staff"))
    assert problem(answer) == (422, "validation_failed")


async def test_it_shows_every_service_in_pages_like_any_list(edge):
    host = await edge()
    everything = await report(host)
    assert [each["upstream"] for each in everything["items"]] == sorted(SERVICE_PORTS)
    assert everything["next_cursor"] is None
    first = await report(host, "?limit=5")
    rest = await report(host, f"?limit=5&cursor={first['next_cursor']}")
    assert first["items"] + rest["items"] == everything["items"]


async def test_it_shows_what_is_wrong(service, edge):
    hanging, go_on = asyncio.Event(), asyncio.Event()

    async def fail(request):
        if request.path.endswith("slow"):
            hanging.set()
            await go_on.wait()
        return web.Response(status=503)

    address = await service(fail)
    patience = {"upstream_timeout_s": 60.0, "read_timeout_s": 60.0}
    limits = {**patience, "breaker_open_s": 3_600.0, "breaker_window_s": 3_600.0}
    host = await edge(order=address, limits=limits)
    hung = asyncio.ensure_future(host.ask("POST", "/api/orders/slow"))
    await hanging.wait()
    for number in range(21):
        await host.ask(
            "GET", f"/api/orders/{number}?secret=x", headers={"X-Request-Id": f"r{number}"}
        )
    order = next(each for each in (await report(host))["items"] if each["upstream"] == "order")
    assert order["breaker"] == "open"
    (instance,) = order["instances"]
    assert instance["url"] == address
    assert 0 < instance["breaker"].pop("retry_after_s") <= 3_600
    assert instance["breaker"] == {"state": "open", "calls": 20, "failed_percent": 100.0}
    assert 0 < order["rates"]["requests_per_s"] <= 2.2
    assert 0 < order["rates"]["calls_per_s"] == order["rates"]["failures_per_s"] <= 2.0
    assert order["rates"]["retries_per_s"] > 0
    assert order["rates"]["refused_per_s"] > 0
    assert order["bulkhead"] == {"running": 1, "queued": 0, "long_running": 0}
    assert order["limits"]["upstream_timeout_s"] == 60.0
    assert order["limits"]["bulkhead_calls"] == 256
    latest = order["last_errors"][0]
    assert len(order["last_errors"]) == 10
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", latest.pop("at"))
    assert re.fullmatch(r"/api/orders/\d+", latest.pop("path"))
    assert re.fullmatch(r"r\d+", latest.pop("request_id"))
    assert latest == {"instance": address, "method": "GET", "said": "503"}
    go_on.set()
    assert problem(await hung) == (502, "bad_upstream")
