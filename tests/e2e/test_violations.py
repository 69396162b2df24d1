"""An event forged onto the topic: the tracker says so, to staff, owner and Prometheus alike."""

from __future__ import annotations

import time

import orjson
import pytest

from sagas import Message
from tests.e2e.conftest import OpenShop, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRACKER_PORT = 7


async def _forge(shop: OpenShop, saga_id: str, type_: str, source: str, event_id: str) -> None:
    tracker = shop.shop.tracker
    assert tracker is not None
    data = {"order_id": saga_id, "code": "forged", "detail": "Forged."}
    forged = Message(
        id=event_id,
        type=type_,
        source=f"/{source}",
        subject=saga_id,
        saga_id=saga_id,
        time=time.time(),
        data=orjson.dumps(data),
    )
    await tracker._broker.publish([forged])


async def test_a_forged_event_is_reported_with_its_saga_the_rule_and_the_trace(
    shop: OpenShop,
) -> None:
    id_ = await shop.placed()
    before = await shop.ended(id_)
    assert before["violations"] == []

    await _forge(shop, id_, "StockRejected", "inventory", f"forged-{id_}")

    found = await until(
        lambda: shop.customer("GET", f"/api/sagas/{id_}"),
        lambda answer: bool(answer.body["violations"]),
    )
    violation = found.body["violations"][0]
    assert violation["code"] == "SAGA605"
    assert violation["rule"] == (
        "reserve_stock comes to one outcome: StockReserved and StockRejected exclude each other."
    )
    assert violation["event"]["event_id"] == f"forged-{id_}"
    assert [event["type"] for event in violation["trace"]][:2] == ["OrderPlaced", "PaymentTaken"]
    listed = (await shop.staff("GET", "/api/sagas?limit=100")).body["items"]
    assert next(saga for saga in listed if saga["saga_id"] == id_)["violations"]
    metrics = await shop.anonymous(
        "GET", f"http://127.0.0.1:{shop.settings.port_base + TRACKER_PORT}/metrics"
    )
    assert b"# TYPE saga_violations_total counter" in metrics.raw
    [line] = [line for line in metrics.raw.splitlines() if b'code="SAGA605"' in line]
    assert int(line.split()[-1]) >= 1
