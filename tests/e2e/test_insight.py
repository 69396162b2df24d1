"""Insight of the embedded default, through the gateway: the sums of all sagas, for staff."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from tests.e2e.conftest import OpenShop, _closed, _started, open_shop, until
from tests.e2e.test_violations import _forge

ROUTES = ("overview", "overview/events", "steps", "failures", "stuck", "violations")

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def _overview(shop: OpenShop, **wanted: int) -> Any:
    """The overview, once its day has these counts."""
    found = await until(
        lambda: shop.staff("GET", "/api/insight/overview"),
        lambda answer: wanted.items() <= answer.body["windows"]["1d"].items(),
    )
    return found.body


async def test_the_sums_follow_each_order_and_outlive_the_process(tmp_path: Path) -> None:
    async with open_shop(tmp_path, carrier_step_s=0.05) as shop:
        for choices in ({}, {"token": "tok_declined"}, {"postal_code": "99999"}):
            await shop.ended(await shop.placed(**choices))
        whole = await _overview(shop, started=3, completed=1, compensated=2)
        assert whole["sagas"] == {"running": 0, "compensating": 0, "attention": 0, "stuck": 0}
        assert whole["in_flight"] == {}
        failed = await shop.staff("GET", "/api/insight/failures?window=1h")
        (window,) = failed.body["windows"].values()
        assert {each["code"]: each["count"] for each in window["by_code"]} == {
            "payment_declined": 1,
            "lost_in_transit": 1,
        }
        lost = {"postal_area": "US 999", "code": "lost_in_transit", "count": 1}
        assert lost in window["by"]["postal_area"]
        steps = (await shop.staff("GET", "/api/insight/steps?window=1h")).body
        told = {each["step"]: each for each in steps["windows"]["1h"]["steps"]}
        assert (told["take_payment"]["done"], told["take_payment"]["failed"]) == (2, 1)
        assert told["take_payment"]["latency"]["count"] == 3
    shop_again = await _started(tmp_path, 0.05)
    try:
        await shop_again.wait_ready()
        async with aiohttp.ClientSession() as session:
            again = OpenShop(shop_again, session)
            again.staff = await again.signed_in("staff@example.com", "staff-demo-password")
            after = await _overview(again, started=3, completed=1, compensated=2)
            assert after["windows"]["1d"]["events"] == whole["windows"]["1d"]["events"]
    finally:
        await _closed(shop_again)


async def test_what_is_under_way_is_in_flight_until_it_has_arrived(slow_shop: OpenShop) -> None:
    shop = slow_shop
    id_ = await shop.placed(quantity=2)
    await shop.reached(id_, "confirmed")
    found = await until(
        lambda: shop.staff("GET", "/api/insight/overview"),
        lambda answer: "stock" in answer.body["in_flight"],
    )
    assert found.body["in_flight"] == {"money": {"USD": 3998}, "stock": {"LAMP-01": 2}}
    assert found.body["sagas"]["running"] == 1
    await shop.delivered(id_)
    await until(
        lambda: shop.staff("GET", "/api/insight/overview"),
        lambda answer: answer.body["in_flight"] == {} and answer.body["sagas"]["running"] == 0,
    )


async def test_a_forged_event_is_told_with_its_saga_rule_and_trace(shop: OpenShop) -> None:
    id_ = await shop.placed()
    await shop.ended(id_)
    await _forge(shop, id_, "StockRejected", "inventory", f"forged-{id_}")
    found = await until(
        lambda: shop.staff("GET", "/api/insight/violations"),
        lambda answer: any(each["saga_id"] == id_ for each in answer.body["items"]),
    )
    violation = next(each for each in found.body["items"] if each["saga_id"] == id_)
    assert violation["code"] == "SAGA605"
    assert violation["rule"].startswith("reserve_stock comes to one outcome")
    assert violation["trace"][0]["type"] == "OrderPlaced"
    assert found.body["by_code"]["SAGA605"] >= 1


@pytest.mark.parametrize("route", ROUTES)
async def test_only_staff_may_ask_and_nothing_unknown_is_ignored(
    shop: OpenShop, route: str
) -> None:
    path = f"/api/insight/{route}"
    assert (await shop.anonymous("GET", path)).status == 401
    assert (await shop.customer("GET", path)).status == 403
    assert (await shop.staff("GET", path)).status == 200
    refused = await shop.staff("GET", f"{path}?window=2h&limit=0")
    assert (refused.status, refused.code) == (422, "validation_failed")


async def test_the_overview_is_streamed(shop: OpenShop) -> None:
    path = "/api/insight/overview/events"
    async with shop.staff._request("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = [(await answer.content.readline()).decode() for _ in range(3)]
    assert lines[1] == "event: overview\n"
    assert orjson.loads(lines[2].removeprefix("data: "))["type"] == "order-to-delivery"
