"""Rate limits on real sockets: who is counted, what they are told, and who is never asked."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from ipaddress import ip_network

import pytest
from aiohttp import web

from sagas.system import SystemClock
from sagas.web.auth import Principal, Tokens
from tests.gateway.conftest import SECRET
from tests.gateway.test_refusals import problem
from tests.resilience.test_addresses import forgeries

PROXIED = (ip_network("127.0.0.0/8"),)


async def fine(_request):
    return web.json_response({})


def bearer(subject, role="customer"):
    token = Tokens(SECRET, SystemClock()).issue(Principal(subject, role))
    return {"Authorization": f"Bearer {token}"}


def few(count, **more):
    """So many at once, and hardly any more later."""
    return {
        **{f"{who}_burst": count for who in ("customer", "anonymous")},
        **{f"{who}_rate_per_s": 1 for who in ("customer", "anonymous")},
        **more,
    }


async def test_ten_thousand_requests_of_one_client_are_a_burst_and_its_rate(service, edge):
    host = await edge(order=await service(fine), limits={"bulkhead_queue": 10_000})
    sent = b"GET /api/orders HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n\r\n"
    sent %= bearer("c1")["Authorization"].encode()

    async def hundred():
        reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        seen = Counter()
        for _ in range(100):
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
            seen[head[9:12]] += 1
        writer.close()
        return seen

    began = time.monotonic()
    seen = sum(await asyncio.gather(*(hundred() for _ in range(100))), Counter())
    took_s = time.monotonic() - began
    assert seen.total() == 10_000
    assert set(seen) == {b"200", b"429"}
    assert 400 <= seen[b"200"] <= 400 + 200 * took_s + 1


async def test_what_the_limited_are_told(service, edge):
    host = await edge(order=await service(fine), limits=few(2))
    for left in (1, 0):
        response, _ = await host.ask("GET", "/api/orders", headers=bearer("c1"))
        assert response.status == 200
        assert response.headers["RateLimit-Policy"] == '"customer";q=2;w=2'
        assert response.headers["RateLimit"] == f'"customer";r={left};t=1'
    response, body = await host.ask("GET", "/api/orders", headers=bearer("c1"))
    assert problem((response, body)) == (429, "rate_limited")
    assert response.headers["Retry-After"] == "1"
    assert response.headers["RateLimit-Policy"] == '"customer";q=2;w=2'
    assert response.headers["RateLimit"] == '"customer";r=0;t=1'
    assert (await host.ask("GET", "/api/orders", headers=bearer("c2")))[0].status == 200
    response, _ = await host.ask("GET", "/api/orders")
    assert response.headers["RateLimit"] == '"anonymous";r=1;t=1'


async def test_staff_are_limited_like_customers(service, edge):
    host = await edge(order=await service(fine), limits=few(1))
    assert (await host.ask("GET", "/api/orders", headers=bearer("s1", "staff")))[0].status == 200
    answer = await host.ask("GET", "/api/orders", headers=bearer("s1", "staff"))
    assert problem(answer) == (429, "rate_limited")


@pytest.mark.parametrize(
    ("path", "status"), [("/nothing", 404), ("/api/orders", 502), ("/api/gateway/upstreams", 401)]
)
async def test_whatever_the_answer_it_counts(edge, path, status):
    host = await edge(limits=few(3))
    for _ in range(3):
        response, _ = await host.ask("GET", path)
        assert response.status == status
        assert response.headers["RateLimit-Policy"] == '"anonymous";q=3;w=3'
    assert problem(await host.ask("GET", path)) == (429, "rate_limited")


async def test_a_token_that_is_not_good_gains_no_bucket(service, edge):
    host = await edge(order=await service(fine), limits=few(3))
    for number in range(3):
        headers = {"Authorization": f"Bearer {number}"}
        assert problem(await host.ask("GET", "/api/orders", headers=headers))[0] == 401
    answer = await host.ask("GET", "/api/orders", headers={"Authorization": "Bearer x"})
    assert problem(answer) == (429, "rate_limited")
    assert problem(await host.ask("GET", "/api/orders")) == (429, "rate_limited")


async def test_health_and_metrics_are_always_answered(service, edge):
    host = await edge(limits=few(1))
    await host.ask("GET", "/nothing")
    assert (await host.ask("GET", "/nothing"))[0].status == 429
    for _ in range(20):
        for path, status in (("/health/live", 200), ("/metrics", 200), ("/health/ready", 503)):
            response, _ = await host.ask("GET", path)
            assert response.status == status
            assert "RateLimit" not in response.headers
    _, metrics = await host.ask("GET", "/metrics")
    assert b'gateway_rate_limited_total{policy="anonymous"} 1' in metrics


async def test_many_accounts_make_one_address_no_crowd(service, edge):
    limits = {"address_rate_per_s": 1, "address_burst": 30, "trusted_proxies": PROXIED}
    host = await edge(order=await service(fine), limits=limits)

    async def ask(number, address):
        headers = {**bearer(f"c{number}"), "X-Forwarded-For": address}
        return await host.ask("GET", "/api/orders", headers=headers)

    answers = await asyncio.gather(*(ask(n, "192.0.2.1") for n in range(100)))
    assert Counter(response.status for response, _ in answers) == {200: 30, 429: 70}
    for response, _ in answers:
        name = "address" if response.status == 429 else "customer"
        assert response.headers["RateLimit"].startswith(f'"{name}";r=')
        assert response.headers["RateLimit-Policy"].startswith(f'"{name}";q=')
    refused = next(answer for answer in answers if answer[0].status == 429)
    assert problem(refused) == (429, "rate_limited")
    assert refused[0].headers["RateLimit-Policy"] == '"address";q=30;w=30'
    assert refused[0].headers["Retry-After"] == "1"
    assert (await ask(0, "192.0.2.2"))[0].status == 200
    _, metrics = await host.ask("GET", "/metrics")
    assert b'gateway_rate_limited_total{policy="address"} 70' in metrics


async def test_who_is_refused_for_their_address_keeps_their_own_rate(service, edge):
    limits = {**few(2), "address_rate_per_s": 1, "address_burst": 1, "trusted_proxies": PROXIED}
    host = await edge(order=await service(fine), limits=limits)
    seen = []
    for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
        headers = {**bearer("c1"), "X-Forwarded-For": address}
        seen.append((await host.ask("GET", "/api/orders", headers=headers))[0].status)
    assert seen == [200, 429, 200]


async def test_a_services_own_limit_is_told_beside_the_gateways(service, edge):
    async def limited(_request):
        headers = {"RateLimit": '"sign-in";r=0;t=9', "RateLimit-Policy": '"sign-in";q=5;w=60'}
        return web.json_response({}, status=429, headers=headers)

    host = await edge(customer=await service(limited))
    response, _ = await host.ask("POST", "/api/sessions")
    assert response.headers.getall("RateLimit") == ['"sign-in";r=0;t=9', '"anonymous";r=99;t=1']
    assert len(response.headers.getall("RateLimit-Policy")) == 2


@pytest.mark.parametrize(
    ("count", "trusted"), [(10_000, ()), (1_000, (ip_network("198.51.100.0/24"),))]
)
async def test_forged_forwarding_headers_gain_nothing(service, edge, count, trusted):
    """Sent as bytes: an HTTP client would not say all of it."""
    host = await edge(order=await service(fine), limits=few(100, trusted_proxies=trusted))
    reader, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
    seen = Counter()
    began = time.monotonic()
    for number, lines in enumerate(forgeries(count)):
        forged = [f"X-Forwarded-For: {line}\r\n" for line in lines]
        forged += [f"Forwarded: for={number}\r\nX-Real-IP: 10.0.{number // 256}.{number % 256}\r\n"]
        writer.write(f"GET /api/orders HTTP/1.1\r\nHost: x\r\n{''.join(forged)}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))
        seen[head[9:12]] += 1
    writer.close()
    took_s = time.monotonic() - began
    assert seen.total() == count
    assert set(seen) == {b"200", b"429"}
    assert 100 <= seen[b"200"] <= 100 + took_s + 1  # one burst, and one a second
    _, metrics = await host.ask("GET", "/metrics")
    assert b"\ngateway_limited_clients 1\n" in metrics


async def test_behind_a_trusted_proxy_each_client_is_its_own(service, edge):
    async def who(request):
        return web.json_response(request.headers["X-Forwarded-For"])

    trusted = (ip_network("127.0.0.0/8"),)
    host = await edge(order=await service(who), limits=few(1, trusted_proxies=trusted))
    for client in ("192.0.2.1", "192.0.2.2"):
        sent = {"X-Forwarded-For": f"6.6.6.6, {client}"}
        response, body = await host.ask("GET", "/api/orders", headers=sent)
        assert (response.status, json.loads(body)) == (200, client)
    again = {"X-Forwarded-For": "7.7.7.7, 192.0.2.1"}
    assert problem(await host.ask("GET", "/api/orders", headers=again)) == (429, "rate_limited")


async def test_another_address_of_the_same_line_is_the_same_client(service, edge):
    trusted = (ip_network("127.0.0.0/8"),)
    host = await edge(order=await service(fine), limits=few(1, trusted_proxies=trusted))
    seen = [
        (await host.ask("GET", "/api/orders", headers={"X-Forwarded-For": client}))[0].status
        for client in ("2001:db8::1", "2001:db8::2", "2001:db8:0:1::1")
    ]
    assert seen == [200, 429, 200]
