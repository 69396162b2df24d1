"""The whole document, put together from what the services say: complete, or not there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway import documents
from gateway.documents import composed
from gateway.routes import SERVICES
from sagas.web.openapi import document
from sagas.web.operations import ANYBODY, Operation
from tests.gateway.conftest import Edge

Serve = Callable[[Handler], Awaitable[str]]
Open = Callable[..., Awaitable[Edge]]


def said_by(path: str, answer: Any = str) -> dict[str, Any]:
    promise = Operation("GET", path, "Read it", {200: answer}, who=ANYBODY)
    return document("a service", "", [promise])


PATHS = {
    "product": "/api/products",
    "order": "/api/orders",
    "customer": "/api/customers",
    "payment": "/api/payments",
    "inventory": "/api/inventory",
    "shipping": "/api/shipping",
    "tracker": "/api/sagas",
}


class Services:
    """Seven services that say something of themselves; what each says can be changed."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {name: said_by(PATHS[name]) for name in SERVICES}
        self.asked = 0

    def handler(self, name: str) -> Handler:
        async def tell(_request: web.Request) -> web.Response:
            self.asked += 1
            said = self.said[name]
            if isinstance(said, int):
                return web.Response(status=said)
            return web.Response(body=said if isinstance(said, bytes) else orjson.dumps(said))

        return tell


@pytest.fixture
def services() -> Services:
    return Services()


@pytest.fixture
async def opened(services: Services, service: Serve, edge: Open) -> Edge:
    urls = {name: await service(services.handler(name)) for name in SERVICES}
    return await edge(**urls)


async def test_the_services_are_asked_once_in_a_while(services: Services, opened: Edge) -> None:
    for _ in range(3):
        answer, body = await opened.ask("GET", "/openapi.json")
        assert answer.status == 200
        assert set(PATHS.values()) < set(orjson.loads(body)["paths"])
    assert services.asked == len(SERVICES)


@pytest.mark.parametrize(
    "nonsense", [b"", b"[]", b"null", b'"openapi"', b'{"openapi": "3.1.0"}', 404]
)
async def test_half_a_document_is_none(services: Services, opened: Edge, nonsense: Any) -> None:
    services.said["order"] = nonsense
    answer, body = await opened.ask("GET", "/openapi.json")
    assert (answer.status, orjson.loads(body)["code"]) == (502, "bad_upstream")


async def test_what_a_service_said_stands_while_it_is_away(
    services: Services, opened: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "FRESH_S", 0.0)
    _, before = await opened.ask("GET", "/openapi.json")
    services.said["order"] = 404
    services.said["payment"] = said_by("/api/payments/new")
    answer, body = await opened.ask("GET", "/openapi.json")
    paths = set(orjson.loads(body)["paths"])
    assert answer.status == 200
    assert "/api/orders" in paths
    assert "/api/payments/new" in paths
    assert paths != set(orjson.loads(before)["paths"])


def test_only_what_the_gateway_hands_on_is_told() -> None:
    own = said_by("/health/live")
    whole = composed(own, {"order": said_by("/api/orders"), "payment": said_by("/api/orders/x")})
    assert set(whole["paths"]) == {"/health/live", "/api/orders"}
    codes = whole["paths"]["/api/orders"]["get"]["x-problem-codes"]
    assert codes["429"] == ["rate_limited"]
    assert codes["503"] == ["circuit_open", "overloaded", "unavailable"]
    assert "429" not in whole["paths"]["/health/live"]["get"]["x-problem-codes"]


def test_the_same_name_for_two_things_stays_two_things() -> None:
    def named(schema: dict[str, Any]) -> dict[str, Any]:
        said = said_by("/api/orders")
        said["components"]["schemas"]["Thing"] = schema
        ref = {"$ref": "#/components/schemas/Thing"}
        said["paths"]["/api/orders"]["get"]["responses"]["200"]["content"] = {
            "application/json": {"schema": ref}
        }
        return said

    own = said_by("/health/live")
    own["components"]["schemas"]["Thing"] = {"type": "integer"}
    whole = composed(own, {"order": named({"type": "string"})})
    shown = whole["paths"]["/api/orders"]["get"]["responses"]["200"]["content"]
    assert shown["application/json"]["schema"] == {"$ref": "#/components/schemas/order.Thing"}
    assert whole["components"]["schemas"]["order.Thing"] == {"type": "string"}
    assert whole["components"]["schemas"]["Thing"] == {"type": "integer"}
    same = composed(own, {"order": named({"type": "integer"})})
    assert "order.Thing" not in same["components"]["schemas"]
