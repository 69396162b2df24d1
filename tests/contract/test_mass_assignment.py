"""Nobody writes what is not theirs to write: fields that a route does not know are refused.

Every route that writes is tried, at every depth of its body; a new one is tried by being there.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.conftest import Stage
from tests.contract.documents import (
    APPLICATIONS,
    WHOLE,
    WRITING,
    body_schema,
    each,
    first_example,
    resolved,
)
from tests.e2e.conftest import Answer, Caller, OpenShop

ROUTES = [f"{method} {path}" for method, path, _ in each() if method in WRITING]

#: What the shop decides, and what code that copies objects might fall for.
OURS: dict[str, Any] = {
    "role": "staff",
    "price": {"amount": 1, "currency": "USD"},
    "unit_price": {"amount": 1, "currency": "USD"},
    "amount": 1,
    "total": {"amount": 0, "currency": "USD"},
    "status": "delivered",
    "version": 1,
    "id": "1",
    "_id": "1",
    "sku": "LAMP-02",
    "customer_id": "00000000-0000-7000-8000-000000000001",
    "order_id": "1",
    "saga_id": "1",
    "payment_id": "1",
    "shipment_id": "1",
    "tracking_number": "1",
    "operation_id": "1",
    "available": 1_000_000,
    "on_hand": 1_000_000,
    "reserved": 0,
    "active": True,
    "charges": 0,
    "refunded": {"amount": 0, "currency": "USD"},
    "created_at": "2020-01-31T12:00:00Z",
    "history": [],
    "password_hash": "x",
    "deleted": False,
    "by": "somebody else",
    "is_admin": True,
    "$set": {"role": "staff"},
    "__proto__": {"role": "staff"},
    "__class__": "Staff",
}


def objects(schema: Any, body: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Every object of a body: its place, and its schema."""
    schema = resolved(schema)
    if "anyOf" in schema:
        for choice in schema["anyOf"]:
            if body is not None and resolved(choice).get("type") == "object":
                yield from objects(choice, body, at)
    elif isinstance(body, dict):
        yield at, schema
        for name, value in body.items():
            yield from objects(schema["properties"][name], value, (*at, name))
    elif isinstance(body, list):
        for number, value in enumerate(body):
            yield from objects(schema["items"], value, (*at, number))


def with_field(body: Any, at: tuple[Any, ...], name: str, value: Any) -> Any:
    changed = copy.deepcopy(body)
    place = changed
    for step in at:
        place = place[step]
    place[name] = value
    return changed


def test_every_writing_route_of_every_process_is_tried() -> None:
    there = {
        f"{route.method.lower()} {route.resource.canonical}"
        for app in APPLICATIONS.values()
        for route in app.router.routes()
        if route.resource is not None and route.method.lower() in WRITING
    }
    assert len(there) > 15
    assert set(ROUTES) == there


@pytest.mark.parametrize("route", ROUTES)
async def test_what_is_not_theirs_to_write_is_refused(
    route: str, stage: Stage, shop: OpenShop
) -> None:
    method, path = route.split()
    operation = WHOLE["paths"][path][method]
    schema, body = body_schema(operation), first_example(operation)
    target = path
    for name, value in stage.known.items():
        target = target.replace(f"{{{name}}}", value)
    caller = shop.staff if operation["security"] else shop.anonymous
    readable = "get" in WHOLE["paths"][path]
    before = await shop.staff("GET", target) if readable else None

    tries: list[tuple[str, Any]] = []
    if schema is None:
        tries = [("", {name: value}) for name, value in OURS.items()]
    else:
        for at, part in objects(schema, body):
            assert part["additionalProperties"] is False, (route, at)
            for name, value in OURS.items():
                if name not in part["properties"]:
                    pointer = "".join(f"/{step}" for step in (*at, name))
                    tries.append((pointer, with_field(body, at, name, value)))
    assert len(tries) >= len(OURS) - 5
    answers = await asyncio.gather(
        *(_send(shop, caller, operation, method, target, sent) for _, sent in tries)
    )
    for (pointer, _), answer in zip(tries, answers, strict=True):
        assert (answer.status, answer.code) == (422, "validation_failed"), (pointer, answer.raw)
        assert pointer in [fault["pointer"] for fault in answer.body["errors"]]
    # Nor in the query.
    for name in ("role", "price", "status", "version", "id"):
        answer = await _send(shop, caller, operation, method, f"{target}?{name}=1", body)
        assert (answer.status, answer.code) == (422, "validation_failed"), answer.raw
    if before is not None:
        assert (await shop.staff("GET", target)).raw == before.raw


async def _send(
    shop: OpenShop, caller: Caller, operation: Any, method: str, target: str, body: Any
) -> Answer:
    if operation["security"] == [{"carrier": []}]:
        return await shop.anonymous(method.upper(), target, **shop.signed(body))
    return await caller(method.upper(), target, body, If_Match='"1"')
