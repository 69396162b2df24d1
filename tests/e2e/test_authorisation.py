"""Who may do what: every route, asked by everybody, through the gateway and at its service.

Anonymous, the owner of what is asked about, another customer, and staff. A route that is not in the
matrix fails the first test.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from gateway.routes import service_of
from tests.e2e.conftest import ADDRESS, PASSWORD, Caller, OpenShop, order, product

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLERS = ("anonymous", "owner", "other", "staff")
#: The usual rows: what is somebody's, what staff alone may do, what is everybody's.
THEIRS = (401, 200, 404, 200)
STAFF_ONLY = (401, 403, 403, 200)
SIGNED_IN = (401, 200, 200, 200)
PUBLIC = (200, 200, 200, 200)
#: What a staff member gets where there is nothing: they were let in.
STAFF_FINDS_NONE = (401, 403, 403, 404)

CHECKOUT = {"payment": {"method": "card", "token": "tok_ok"}, "shipping_address": ADDRESS}
REASON = {"reason": "the matrix"}
NO_REPORT = {"event_id": "e", "status": "delivered", "occurred_at": "2030-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Row:
    """``body``: names in it that begin with ``$`` stand for what ``Scene.values`` has."""

    request: str
    expected: tuple[int, int, int, int]
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


ROWS = [
    Row("GET /api/products", PUBLIC),
    Row("POST /api/products", (401, 403, 403, 201), {**product("$new_sku")}),
    Row("GET /api/products/{sku}", PUBLIC),
    Row(
        "PUT /api/products/{sku}",
        STAFF_ONLY,
        {key: value for key, value in product("x").items() if key != "sku"},
        {"If_Match": "*"},
    ),
    Row("DELETE /api/products/{doomed_sku}", (401, 403, 403, 204)),
    Row("GET /api/inventory", STAFF_ONLY),
    Row("GET /api/inventory/{sku}", STAFF_ONLY),
    Row("POST /api/inventory/{sku}/adjustments", STAFF_ONLY, {"delta": 1, **REASON}),
    Row("GET /api/customers", STAFF_ONLY),
    Row(
        "POST /api/customers",
        (201, 201, 201, 201),
        {"name": "Somebody", "email": "$new_email", "password": PASSWORD},
    ),
    Row("GET /api/customers/{customer_id}", THEIRS),
    Row("PATCH /api/customers/{customer_id}", THEIRS, {"phone": "1"}),
    Row("DELETE /api/customers/{customer_id}", (401, 204, 404, 204)),
    # Whoever has the password, or the refresh token, whatever else they send.
    Row("POST /api/sessions", PUBLIC, {"email": "$email", "password": PASSWORD}),
    Row("POST /api/sessions/refresh", PUBLIC, {"refresh_token": "$refresh_token"}),
    Row("DELETE /api/sessions", (204, 204, 204, 204), {"refresh_token": "$refresh_token"}),
    Row("GET /api/carts/{customer_id}", THEIRS),
    Row("DELETE /api/carts/{customer_id}", (401, 204, 404, 204)),
    Row("PUT /api/carts/{customer_id}/items/{sku}", THEIRS, {"quantity": 2}),
    Row("DELETE /api/carts/{customer_id}/items/{sku}", (401, 204, 404, 204)),
    Row("POST /api/carts/{customer_id}/checkout", (401, 202, 404, 202), CHECKOUT),
    Row("POST /api/orders", (401, 202, 404, 202), order(customer_id="$customer_id")),
    Row("GET /api/orders", SIGNED_IN),
    Row("GET /api/orders/{order_id}", THEIRS),
    Row("POST /api/orders/{new_order_id}/cancel", (401, 202, 404, 202), REASON),
    Row("GET /api/payments", SIGNED_IN),
    Row("GET /api/payments/{payment_id}", THEIRS),
    Row(
        "POST /api/payments/{payment_id}/refund",
        STAFF_ONLY,
        {"amount": {"amount": 1, "currency": "USD"}, **REASON},
    ),
    Row("GET /api/shipping", SIGNED_IN),
    Row("GET /api/shipping/{shipment_id}", THEIRS),
    Row("GET /api/shipping/track/{tracking_number}", PUBLIC),
    # The carrier alone, by its signature: no token is one.
    Row("POST /api/shipping/{shipment_id}/events", (401, 401, 401, 401), NO_REPORT),
    Row("GET /api/sagas", STAFF_ONLY),
    Row("GET /api/sagas/graph", PUBLIC),
    Row("GET /api/sagas/{saga_id}", THEIRS),
    Row("GET /api/sagas/{saga_id}/events", THEIRS, headers={"Accept": "text/event-stream"}),
    Row("POST /api/sagas/{new_order_id}/cancel", (401, 403, 403, 202), REASON),
    Row("GET /api/dead-letters", STAFF_ONLY),
    Row("GET /api/dead-letters/{id}", STAFF_FINDS_NONE),
    Row("POST /api/dead-letters/{id}/replay", STAFF_FINDS_NONE, REASON),
    Row("POST /api/dead-letters/replay", (401, 403, 403, 202), REASON),
    Row("DELETE /api/dead-letters/{id}?reason=x", STAFF_FINDS_NONE),
    Row("GET /api/gateway/upstreams", STAFF_ONLY),
    Row("GET /api/insight/overview", STAFF_ONLY),
    Row("GET /api/insight/overview/events", STAFF_ONLY),
    Row("GET /api/insight/steps", STAFF_ONLY),
    Row("GET /api/insight/failures", STAFF_ONLY),
    Row("GET /api/insight/stuck", STAFF_ONLY),
    Row("GET /api/insight/violations", STAFF_ONLY),
]
#: A path's own name for what the matrix calls otherwise, because there are several.
ALIASES = {"doomed_sku": "sku", "new_order_id": "order_id"}


class Scene:
    """A customer and what is theirs; what a request uses up is made for it."""

    _numbers = itertools.count(1)

    def __init__(self, shop: OpenShop, ended: dict[str, str]) -> None:
        self._shop = shop
        self._ended = ended
        self.owner = shop.customer
        self.values: dict[str, str] = {}

    async def set_up(self, row: Row) -> None:
        number = next(self._numbers)
        self.values = {
            **self._ended,
            "sku": "MUG-01",
            "id": "none",
            "new_sku": f"NEW-{number}",
            "new_email": f"new-{number}@example.com",
        }
        wanted = f"{row.request} {row.body}"
        if "doomed_sku" in wanted:
            self.values["doomed_sku"] = f"DOOMED-{number}"
            made = await self._shop.staff("POST", "/api/products", product(f"DOOMED-{number}"))
            assert made.status == 201
        if any(word in wanted for word in ("DELETE /api/customers", "$email", "$refresh")):
            await self._somebody_new(number)
        if "/api/carts" in wanted:
            path = f"/api/carts/{self.owner.id}/items/MUG-01"
            assert (await self.owner("PUT", path, {"quantity": 1})).status == 200
        if "new_order_id" in wanted:
            placed = await self._shop.placed(self.owner)
            await self._shop.reached(placed, "confirmed")
            self.values["new_order_id"] = placed

    async def _somebody_new(self, number: int) -> None:
        email = f"owner-{number}@example.com"
        self.owner = await self._shop.registered(email)
        sent = {"email": email, "password": PASSWORD}
        session = (await self._shop.anonymous("POST", "/api/sessions", sent)).body
        self.values |= {
            "email": email,
            "customer_id": self.owner.id,
            "refresh_token": session["refresh_token"],
        }

    def caller(self, name: str) -> Caller:
        return self.owner if name == "owner" else getattr(self._shop, name)

    def filled(self, body: Any) -> Any:
        if isinstance(body, dict):
            return {name: self.filled(value) for name, value in body.items()}
        if isinstance(body, list):
            return [self.filled(each) for each in body]
        if isinstance(body, str) and body.startswith("$"):
            return self.values[body[1:]]
        return body


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def scene(slow_shop: OpenShop) -> AsyncIterator[dict[str, str]]:
    """What the owner has: an order that has come to its end."""
    placed = await slow_shop.placed()
    await slow_shop.delivered(placed)
    found = await slow_shop.customer("GET", f"/api/orders/{placed}")
    yield {
        "customer_id": slow_shop.customer.id,
        "order_id": placed,
        "saga_id": placed,
        "payment_id": found.body["payment"]["payment_id"],
        "shipment_id": placed,
        "tracking_number": found.body["shipment"]["tracking_number"],
    }


def _in_matrix() -> set[tuple[str, str]]:
    found = set()
    for row in ROWS:
        method, path = row.request.split(" ")
        for alias, name in ALIASES.items():
            path = path.replace(alias, name)
        found.add((method, path.partition("?")[0]))
    return found


def _served(app: Any) -> set[tuple[str, str]]:
    """Every route of an application, as it is registered. Each GET answers HEAD alike."""
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD"
    }


async def test_every_route_is_in_the_matrix(slow_shop: OpenShop) -> None:
    shop = slow_shop.shop
    assert shop.tracker is not None
    hosts = (*shop.hosts.values(), shop.tracker)
    behind = set().union(*(_served(host._server._runner.app) for host in hosts))  # type: ignore[union-attr]
    edge = _served(shop._gateway._runner.app)  # type: ignore[union-attr]
    assert ("*", "/api/{tail}") in edge
    edge -= {("*", "/api/{tail}")}
    # A handler may look at the method itself: all but GET are 405 there.
    real = behind | {("GET" if method == "*" else method, path) for method, path in edge}
    api = {each for each in real if each[1].startswith("/api/")}
    assert len(api) >= 40
    # Their saga's id is the order's: one path, two names.
    named = {(method, path.replace("{saga_id}", "{order_id}")) for method, path in api}
    matrix = {(m, p.replace("{saga_id}", "{order_id}")) for m, p in _in_matrix()}
    assert named == matrix
    # What is not below /api/ is health, metrics and documents: for everybody, and only to read.
    assert {method for method, path in real - api} == {"GET"}
    # Whatever a service serves below /api/, the gateway passes on.
    assert all(service_of(path) for _, path in api if path != "/api/gateway/upstreams")


@pytest.mark.parametrize("way", ["gateway", "service"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.request)
async def test_everybody_gets_what_is_theirs(
    slow_shop: OpenShop, scene: dict[str, str], row: Row, way: str
) -> None:
    method, path = row.request.split(" ")
    answers = []
    for name in CALLERS:
        now = Scene(slow_shop, scene)
        await now.set_up(row)
        where = path.format(**now.values)
        service = service_of(where.partition("?")[0])
        if way == "service" and service is not None:
            where = slow_shop.shop.addresses[service] + where
        body = now.filled(row.body)
        answers.append(await now.caller(name)(method, where, body, **row.headers))
    assert tuple(answer.status for answer in answers) == row.expected, [
        answer.raw[:300] for answer in answers
    ]
    for answer in answers:
        if answer.status in (401, 403, 404):
            assert set(answer.body) <= {
                *("type", "title", "status", "detail", "instance", "code", "request_id")
            }


async def test_lists_hold_ones_own_and_staffs_everyones(
    slow_shop: OpenShop, scene: dict[str, str]
) -> None:
    for path in ("/api/orders", "/api/payments", "/api/shipping"):
        seen = {}
        for name in CALLERS[1:]:
            caller = Scene(slow_shop, scene).caller(name)
            items = (await caller("GET", f"{path}?limit=100")).body["items"]
            seen[name] = {item["order_id"] for item in items}
        assert scene["order_id"] in seen["owner"]
        assert scene["order_id"] in seen["staff"]
        assert not seen["other"] & seen["owner"]
