"""The documents: valid, complete, and made of what the routers know."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic_asyncapi.v3 import AsyncAPI as AsyncAPIV3

from participants.choreography import shop as choreography
from sagas.asyncapi import asyncapi
from sagas.envelope import event_type
from sagas.events import ENGINE_EVENTS
from sagas.web.operations import operations
from tests.contract.conftest import Stage
from tests.contract.documents import APPLICATIONS, DOCUMENTS, WHOLE, each
from tests.contract.promises import broken_promise
from tests.e2e.conftest import OpenShop

NAMES = [f"{method} {path}" for method, path, _ in each()]


@pytest.mark.parametrize("name", [*DOCUMENTS, "whole"])
def test_a_document_is_valid(name: str) -> None:
    said = DOCUMENTS.get(name, WHOLE)
    assert [str(error) for error in OpenAPIV31SpecValidator(said).iter_errors()] == []
    assert said["openapi"].startswith("3.1")


@pytest.mark.parametrize("name", APPLICATIONS)
def test_no_route_is_without_a_description(name: str) -> None:
    described = {(method.upper(), path) for method, path, _ in each(DOCUMENTS[name])}
    there = {
        (route.method, route.resource.canonical)
        for route in APPLICATIONS[name].router.routes()
        if route.resource is not None
    }
    # For people, and what hands any method on.
    apart = {
        (method, path)
        for method, path in there
        if path == "/" or path.startswith(("/docs", "/page/")) or method in "* HEAD"
    }
    assert there - apart == described


def test_a_route_without_a_description_is_found() -> None:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response()

    app = web.Application()
    app.router.add_post("/api/secret", handler)
    with pytest.raises(LookupError, match=r"POST .*/api/secret.* has no @Operation"):
        operations(app.router.routes())


def test_the_whole_has_all_that_the_services_have() -> None:
    own = {
        (method, path)
        for name, said in DOCUMENTS.items()
        for method, path, _ in each(said)
        if name == "gateway" or path.startswith(("/api/", "/asyncapi"))
    }
    assert {(method, path) for method, path, _ in each()} == own


@pytest.mark.parametrize("name", NAMES)
def test_an_operation_says_all_there_is_to_know(name: str) -> None:
    method, path = name.split()
    operation = WHOLE["paths"][path][method]
    assert re.fullmatch(r"[A-Z].{3,100}", operation["summary"])
    assert not operation["summary"].endswith(".")
    named = {each["name"] for each in operation["parameters"] if each["in"] == "path"}
    assert named == set(re.findall(r"{(\w+)}", path))
    assert all("example" in each for each in operation["parameters"] if each["in"] == "path")
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        assert content["examples"]
        schema = {**content["schema"], "components": WHOLE["components"]}
        for example in content["examples"].values():
            Draft202012Validator(schema).validate(example["value"])
    assert operation["x-problem-codes"]
    for status, codes in operation["x-problem-codes"].items():
        assert codes
        response = operation["responses"][status]
        shown = WHOLE["components"]["responses"][response["$ref"].rpartition("/")[2]]
        problem = shown["content"]["application/problem+json"]["schema"]
        assert problem["allOf"][1]["properties"]["code"]["enum"] == codes


def test_an_answer_that_is_not_promised_is_noticed() -> None:
    problem = orjson.dumps({"code": "not_found"})
    assert broken_promise("GET", "/api/products/X-1", 404, problem) is None
    assert broken_promise("GET", "/api/products?q=x", 404, problem)
    assert broken_promise("GET", "/api/products/X-1", 404, orjson.dumps({"code": "gone"}))
    assert broken_promise("GET", "/api/sagas/graph", 404, problem)
    assert broken_promise("POST", "/nowhere", 404, problem) is None


def test_every_code_that_the_code_says_is_in_the_document() -> None:
    """The contract names these; a handler's own are seen by every test that meets one."""
    told = {
        code
        for _, _, said in each()
        for codes in said["x-problem-codes"].values()
        for code in codes
    }
    assert told >= {
        "already_resolved", "bad_upstream", "body_too_large", "cart_empty", "cart_full",
        "circuit_open", "email_taken", "forbidden", "idempotency_in_progress",
        "idempotency_key_reused", "insufficient_stock", "invalid_credentials",
        "malformed_request", "mixed_currencies", "not_found", "over_refund", "overloaded",
        "precondition_required", "product_archived", "rate_limited", "saga_running",
        "sku_taken", "stale_version", "too_late_to_cancel", "unauthenticated",
        "unknown_product", "unsupported_media_type", "upstream_timeout", "validation_failed",
        "wrong_currency",
    }  # fmt: skip


async def test_the_gateway_shows_the_whole_and_each_service_its_own(shop: OpenShop) -> None:
    whole = await shop.anonymous("GET", "/openapi.json")
    assert (whole.status, whole.headers["Content-Type"]) == (200, "application/json")
    assert _without_words(whole.body) == _without_words(WHOLE)
    for name, distance in {"product": 1, "order": 2, "tracker": 7}.items():
        url = f"http://127.0.0.1:{shop.settings.port_base + distance}/openapi.json"
        answer = await shop.anonymous("GET", url)
        assert _without_words(answer.body) == _without_words(DOCUMENTS[name])


def _without_words(said: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in orjson.loads(orjson.dumps(said)).items() if name != "info"}


async def test_what_can_be_read_can_be_asked_for_without_its_body(shop: OpenShop) -> None:
    for base in (shop.url, f"http://127.0.0.1:{shop.settings.port_base + 1}"):
        for path in ("/api/products", "/api/products/LAMP-01", "/openapi.json", "/health/live"):
            answer = await shop.anonymous("HEAD", base + path)
            assert (answer.status, answer.raw) == (200, b""), path


async def test_the_page_needs_nothing_from_elsewhere(shop: OpenShop) -> None:
    for base in (shop.url, f"http://127.0.0.1:{shop.settings.port_base + 2}"):
        page = await shop.anonymous("GET", f"{base}/docs")
        assert page.status == 200
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        text = page.raw.decode()
        assert not re.search(r"<script>|style=|on\w+=", text)
        linked = re.findall(r'(?:src|href)="([^"]+)"', text)
        assert len(linked) == 4
        for each_ in linked:
            assert each_.startswith("/docs/")
            found = await shop.anonymous("GET", base + each_)
            assert found.status == 200
            assert found.raw
            assert found.headers["X-Content-Type-Options"] == "nosniff"
        for missing in ("/docs/index.html", "/docs/..%2f__init__.py", "/docs/x/../../y"):
            assert (await shop.anonymous("GET", base + missing)).status == 404


async def test_the_events_are_told_as_they_are_declared(stage: Stage, shop: OpenShop) -> None:
    answer = await shop.anonymous("GET", "/asyncapi.json")
    assert answer.status == 200
    assert answer.body == orjson.loads(orjson.dumps(asyncapi(choreography)))
    engines = {event_type(cls) for cls in ENGINE_EVENTS}
    assert set(answer.body["channels"]) == {*choreography.event_classes(), *engines}
    replay = answer.body["channels"]["ReplayRequested"]
    assert replay["address"] == "ReplayRequested.{participant}"
    assert "shipping-send-StepRetrying" in answer.body["operations"]
    placed = answer.body["components"]["schemas"]["OrderPlaced"]
    assert placed["properties"]["payment_token"]["sensitive"] is True


def test_the_events_document_is_valid_and_its_references_lead_somewhere() -> None:
    said = asyncapi(choreography)
    AsyncAPIV3.model_validate(said)

    def follow(ref: str) -> Any:
        found: Any = said
        for name in ref.removeprefix("#/").split("/"):
            found = found[name]
        return found

    refs = re.findall(r'"\$ref":"([^"]+)"', orjson.dumps(said).decode())
    assert len(refs) > 100
    for ref in refs:
        assert follow(ref) is not None
    for message in said["components"]["messages"].values():
        Draft202012Validator.check_schema(message["payload"])
    for operation in said["operations"].values():
        assert operation["action"] in ("send", "receive")
