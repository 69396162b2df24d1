"""Forged tokens at every door of the running shop, guessed passwords, and what logs give away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest

from participants.shipping.webhook import sign
from tests.e2e.conftest import PASSWORD, SOON_S, OpenShop, order
from tests.web.forging import forgeries, genuine

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: A route of each process that needs a token, and is served from its own port: the first by the
#: gateway itself.
DOORS = (
    *("/api/gateway/upstreams", "/api/products", "/api/orders", "/api/customers/me"),
    *("/api/payments", "/api/inventory", "/api/shipping", "/api/sagas"),
)


@pytest.fixture(autouse=True, scope="module")
def wide() -> Iterator[None]:
    """All forgeries come from one address; on a fast machine they would be too many in a second."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SHOP_ANONYMOUS_BURST", "1000")
        yield


@pytest.mark.parametrize("distance", range(8))
async def test_no_forged_token_opens_any_door(slow_shop: OpenShop, distance: int) -> None:
    secret = slow_shop.settings.jwt_secret
    url = f"http://127.0.0.1:{slow_shop.settings.port_base + distance}{DOORS[distance]}"
    now = slow_shop.shop.clock.now()
    real = await slow_shop.bearing(genuine(secret, now))("GET", url)
    assert real.status in (200, 403, 404)  # known: the token was believed
    forged = forgeries(secret, now)
    assert len(forged) >= 15
    seen = {}
    for name, token in forged.items():
        answer = await slow_shop.bearing(token)("GET", url)
        seen[name] = (answer.status, answer.code)
    assert {name: told for name, told in seen.items() if told != (401, "unauthenticated")} == {}


async def test_two_tokens_are_none(slow_shop: OpenShop) -> None:
    """Who looks at the first and who looks at the last would see two callers."""
    token = slow_shop.customer.token
    for port in range(slow_shop.settings.port_base, slow_shop.settings.port_base + 8):
        head = (
            "GET /api/orders HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\nAuthorization: Bearer {slow_shop.staff.token}\r\n"
        )
        assert (await _said(port, head + "\r\n")).split(" ", 2)[1] in ("400", "401")


async def test_five_guesses_a_minute_whatever_the_address_says(slow_shop: OpenShop) -> None:
    email = "guessed@example.com"
    await slow_shop.registered(email)
    statuses = []
    for number in range(8):
        body = {"email": email.upper() if number % 2 else email, "password": "a wrong guess"}
        answer = await slow_shop.anonymous(
            "POST", "/api/sessions", body, X_Forwarded_For=f"192.0.2.{number}"
        )
        statuses.append(answer.status)
    assert statuses == [401] * 5 + [429] * 3
    right = {"email": email, "password": PASSWORD}
    locked = await slow_shop.anonymous("POST", "/api/sessions", right)
    assert (locked.status, locked.code) == (429, "rate_limited")


async def test_nothing_secret_is_ever_logged(
    slow_shop: OpenShop, caplog: pytest.LogCaptureFixture
) -> None:
    """At the most talkative level; errors, refusals and the carrier's reports included."""
    caplog.set_level(logging.DEBUG)
    shop = slow_shop
    email, card = "whispered@example.com", "tok_declined"
    owner = await shop.registered(email)
    credentials = {"email": email, "password": PASSWORD}
    session = (await shop.anonymous("POST", "/api/sessions", credentials)).body
    refresh = {"refresh_token": session["refresh_token"]}
    rotated = (await shop.anonymous("POST", "/api/sessions/refresh", refresh)).body
    await shop.anonymous("POST", "/api/sessions/refresh", refresh)
    await shop.anonymous("DELETE", "/api/sessions", {"refresh_token": rotated["refresh_token"]})
    await shop.anonymous("POST", "/api/sessions", {"email": email, "password": "a wrong guess"})
    placed = await shop.placed(owner, token=card)
    await shop.reached(placed, "cancelled")
    for wrong in (
        {"role": "staff"},
        {"email": "no address"},
        {"name": 1},
        {"password": [PASSWORD]},
    ):
        body = {"name": "W", "email": email, "password": PASSWORD, **wrong}
        assert (await shop.anonymous("POST", "/api/customers", body)).status == 422
    forged = forgeries(shop.settings.jwt_secret, shop.shop.clock.now())
    for token in forged.values():
        await shop.bearing(token)("GET", "/api/orders")
    raw = b'{"event_id": "e", "status": "dispatched", "occurred_at": "2030-01-01T00:00:00Z"}'
    signature = sign(raw, shop.settings.carrier_secret, int(shop.shop.clock.now()))
    await shop.report(placed, "dispatched", "an-event")
    await shop.anonymous(
        *("POST", f"/api/shipping/{placed}/events"), raw=raw, Carrier_Signature=signature
    )
    await owner("POST", "/api/orders", raw=b"{" + str(order(token=card)).encode())
    logged = "\n".join(
        f"{record.getMessage()} {record.exc_text or ''} {record.args}" for record in caplog.records
    )
    assert "sagas.requests" in {record.name for record in caplog.records}
    secrets = {
        *(shop.settings.jwt_secret, shop.settings.carrier_secret, PASSWORD, "a wrong guess"),
        *(email, card, owner.token, session["access_token"], session["refresh_token"]),
        *(rotated["refresh_token"], signature.partition("v1=")[2], "$argon2", "1 Main St"),
        *(token for token in forged.values() if len(token) > 60),
    }
    assert [secret for secret in secrets if secret in logged] == []


async def _said(port: int, text: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text.encode())
    async with asyncio.timeout(SOON_S):
        said = (await reader.read()).decode()
    writer.close()
    return said
