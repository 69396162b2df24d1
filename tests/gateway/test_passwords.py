"""Passwords from one address: whatever accounts are tried, and whatever is claimed."""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import ip_network

import pytest
from aiohttp import web

from tests.gateway.test_limits import bearer
from tests.gateway.test_refusals import problem

PATH = "/api/sessions"
FEW = {"address_sign_ins_per_min": 5, "anonymous_burst": 10_000}


@pytest.fixture
async def customers(service):
    """The password is "right", of whatever account."""
    asked = []

    async def sign_in(request):
        sent = await request.json()
        asked.append(sent["email"])
        await asyncio.sleep(0.01)
        return web.json_response({}, status=200 if sent["password"] == "right" else 401)

    return asked, await service(sign_in)


def guess(number, password="wrong"):
    return {"json": {"email": f"somebody-{number}@example.com", "password": password}}


async def test_one_password_tried_on_many_accounts(customers, edge):
    asked, address = customers
    host = await edge(customer=address, limits=FEW)
    for number in range(5):
        assert (await host.ask("POST", PATH, **guess(number)))[0].status == 401
    response, body = await host.ask("POST", PATH, **guess(6, "right"))
    assert problem((response, body)) == (429, "rate_limited")
    assert int(response.headers["Retry-After"]) in range(1, 13)
    assert '"sign-in";q=5;w=60' in response.headers.getall("RateLimit-Policy")
    assert len(asked) == 5
    # Everything else goes on.
    assert (await host.ask("POST", "/api/customers", **guess(7)))[0].status == 401


async def test_a_burst_of_guesses_gets_no_more_tries(customers, edge):
    asked, address = customers
    host = await edge(customer=address, limits=FEW)
    answers = await asyncio.gather(*(host.ask("POST", PATH, **guess(n)) for n in range(100)))
    assert Counter(response.status for response, _ in answers) == {401: 5, 429: 95}
    assert len(asked) == 5


async def test_who_goes_away_before_the_answer_has_guessed(customers, edge):
    asked, address = customers
    host = await edge(customer=address, limits=FEW)
    for number in range(5):
        _, writer = await asyncio.open_connection("127.0.0.1", host.server.port)
        body = b'{"email": "x", "password": "wrong"}'
        writer.write(
            b"POST /api/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body) + body
        )
        async with asyncio.timeout(5):
            while len(asked) <= number:  # noqa: ASYNC110 - the service has no event for us
                await asyncio.sleep(0.001)
        writer.close()
    assert problem(await host.ask("POST", PATH, **guess(9))) == (429, "rate_limited")


async def test_good_sign_ins_are_not_counted(customers, edge):
    _, address = customers
    host = await edge(customer=address, limits=FEW)
    for number in range(20):
        assert (await host.ask("POST", PATH, **guess(number, "right")))[0].status == 200


async def test_a_customer_service_that_fails_costs_nobody_their_tries(edge):
    host = await edge(limits=FEW)
    for number in range(10):
        assert problem(await host.ask("POST", PATH, **guess(number))) == (502, "bad_upstream")


@pytest.mark.parametrize("forged", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "token"])
async def test_no_header_gains_another_five(customers, edge, forged):
    _, address = customers
    host = await edge(customer=address, limits=FEW)
    seen = Counter()
    for number in range(20):
        headers = bearer(f"c{number}") if forged == "token" else {forged: f"192.0.2.{number}"}
        response, _ = await host.ask("POST", PATH, headers=headers, **guess(number))
        seen[response.status] += 1
    assert seen == {401: 5, 429: 15}


async def test_behind_a_trusted_proxy_each_address_has_its_own(customers, edge):
    _, address = customers
    limits = {**FEW, "trusted_proxies": (ip_network("127.0.0.0/8"),)}
    host = await edge(customer=address, limits=limits)
    for client in ("192.0.2.1", "192.0.2.2"):
        statuses = [
            (await host.ask("POST", PATH, headers={"X-Forwarded-For": client}, **guess(n)))[
                0
            ].status
            for n in range(6)
        ]
        assert statuses == [401] * 5 + [429]


# ----------------------------------------------------------------------------- the work of hashing


HASHES = {"address_passwords_per_min": 5, "anonymous_burst": 10_000}


@pytest.mark.parametrize("path", [PATH, "/api/customers"])
async def test_good_passwords_are_work_too(customers, edge, path):
    """Whoever has an account could keep every core busy by signing in, or by registering others."""
    asked, address = customers
    host = await edge(customer=address, limits=HASHES)
    burst = (host.ask("POST", path, **guess(n, "right")) for n in range(50))
    answers = await asyncio.gather(*burst)
    assert Counter(response.status for response, _ in answers) == {200: 5, 429: 45}
    assert len(asked) == 5
    refused = next(answer for answer in answers if answer[0].status == 429)
    assert problem(refused) == (429, "rate_limited")
    assert '"password";q=5;w=60' in refused[0].headers.getall("RateLimit-Policy")
    assert int(refused[0].headers["Retry-After"]) in range(1, 13)
    assert (await host.ask("GET", "/api/customers"))[0].status != 429


async def test_signing_in_and_registering_are_one_work(customers, edge):
    _, address = customers
    host = await edge(customer=address, limits=HASHES)
    for number in range(5):
        path = (PATH, "/api/customers")[number % 2]
        assert (await host.ask("POST", path, **guess(number, "right")))[0].status == 200
    for path in (PATH, "/api/customers"):
        assert problem(await host.ask("POST", path, **guess(9, "right")))[0] == 429


@pytest.mark.parametrize("status", [400, 415, 422, 429, 500, 503])
async def test_what_was_refused_unhashed_is_given_back(service, edge, status):
    async def refuse(_request):
        return web.json_response({}, status=status)

    host = await edge(customer=await service(refuse), limits={**HASHES, "breaker_min_calls": 99})
    for _ in range(20):
        told = (await host.ask("POST", "/api/customers"))[0].status
        assert told == (502 if status >= 500 else status)


async def test_of_many_who_want_one_email_all_have_made_work(service, edge):
    async def taken(_request):
        return web.json_response({}, status=409)

    host = await edge(customer=await service(taken), limits=HASHES)
    seen = [(await host.ask("POST", "/api/customers"))[0].status for _ in range(8)]
    assert seen == [409] * 5 + [429] * 3
