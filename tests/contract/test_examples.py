"""The examples of the document work: each is sent as it stands, only ids are those of this shop."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from tests.contract.conftest import Stage
from tests.contract.documents import WHOLE, each
from tests.e2e.conftest import Answer, Caller, OpenShop, until

#: How an id in an example looks: of things that each shop gives its own ids.
OPAQUE = ("order_id", "payment_id", "saga_id", "shipment_id", "tracking_number", "id")


@dataclass
class Scene:
    """What an operation's examples are sent to, and by whom."""

    shop: OpenShop
    stage: Stage
    name: str
    ids: dict[str, str] = field(default_factory=dict)
    caller: Caller | None = None
    body: dict[str, Any] = field(default_factory=dict)


async def nothing(_scene: Scene) -> None:
    """It needs no more than the demo's seed and what stands on the stage."""


async def a_new_order(scene: Scene) -> None:
    order_id = await scene.shop.placed()
    await scene.shop.reached(order_id, "confirmed")
    scene.ids = dict.fromkeys(("order_id", "saga_id", "shipment_id"), order_id)


async def a_new_letter(scene: Scene) -> None:
    name = scene.name.replace("/", "-").replace(" ", "-")
    scene.ids = {"id": await scene.stage.dead_letter(scene.shop, name)}


async def a_full_cart(scene: Scene) -> None:
    await scene.shop.customer("PUT", "/api/carts/me/items/MUG-01", {"quantity": 2})


async def a_lantern(scene: Scene) -> None:
    example = _examples("post", "/api/products")[0]
    await scene.shop.staff("POST", "/api/products", example)


async def somebody_new(scene: Scene) -> None:
    scene.caller = await scene.shop.registered("somebody-new@example.com")


async def a_session(scene: Scene) -> None:
    sign_in = _examples("post", "/api/sessions")[0]
    answer = await scene.shop.anonymous("POST", "/api/sessions", sign_in)
    scene.body = {"refresh_token": answer.body["refresh_token"]}


PREPARED: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "post /api/orders/{order_id}/cancel": a_new_order,
    "post /api/sagas/{saga_id}/cancel": a_new_order,
    "post /api/shipping/{shipment_id}/events": a_new_order,
    "post /api/dead-letters/{id}/replay": a_new_letter,
    "delete /api/dead-letters/{id}": a_new_letter,
    "delete /api/carts/{customer_id}/items/{sku}": a_full_cart,
    "post /api/carts/{customer_id}/checkout": a_full_cart,
    "put /api/products/{sku}": a_lantern,
    "delete /api/products/{sku}": a_lantern,
    "delete /api/customers/{customer_id}": somebody_new,
    "post /api/sessions/refresh": a_session,
    "delete /api/sessions": a_session,
}


def _examples(method: str, path: str) -> list[Any]:
    operation = WHOLE["paths"][path][method]
    body = operation.get("requestBody")
    if body is None:
        return [None]
    return [each["value"] for each in body["content"]["application/json"]["examples"].values()]


@pytest.mark.parametrize("name", [f"{method} {path}" for method, path, _ in each()])
async def test_the_examples_of_an_operation_work(name: str, stage: Stage, shop: OpenShop) -> None:
    method, path = name.split()
    operation = WHOLE["paths"][path][method]
    scene = Scene(shop, stage, name)
    await PREPARED.get(name, nothing)(scene)
    target, headers = path, {}
    query: dict[str, Any] = {}
    for parameter in operation["parameters"]:
        if "example" not in parameter:
            continue
        name_, value = parameter["name"], parameter["example"]
        if parameter["in"] == "path":
            if name_ in OPAQUE:
                value = scene.ids.get(name_) or stage.known[name_]
            target = target.replace(f"{{{name_}}}", value)
        elif parameter["in"] == "query":
            query[name_] = orjson.dumps(value).decode() if isinstance(value, bool) else value
        elif parameter.get("required"):
            headers[name_.replace("-", "_")] = value
    if query:
        target += f"?{urlencode(query)}"
    for example in _examples(method, path):
        body = example if example is None else {**example, **scene.body}
        answer = await _send(scene, operation, method.upper(), target, body, headers)
        assert str(answer.status) in operation["responses"], answer.raw
        assert 200 <= answer.status < 300, answer.raw


async def _send(
    scene: Scene,
    operation: dict[str, Any],
    method: str,
    target: str,
    body: Any,
    headers: dict[str, str],
) -> Answer:
    shop = scene.shop
    security = operation["security"]
    if security == [{"carrier": []}]:
        return await shop.anonymous(method, target, **shop.signed(body))
    caller = shop.anonymous
    if security:
        caller = shop.staff if security == [{"bearer": ["staff"]}] else shop.customer

    async def ask() -> Answer:
        return await (scene.caller or caller)(method, target, body, **headers)

    # What one service has just said another may hear a moment later.
    return await until(ask, lambda answer: answer.status not in (404, 409))
