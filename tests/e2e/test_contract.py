"""What the public contract promises, told as stories of clients, section by section."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
import pytest

from tests.e2e.conftest import ADDRESS, PASSWORD, Caller, OpenShop, order, product, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHECKOUT = {"payment": {"method": "card", "token": "tok_ok"}, "shipping_address": ADDRESS}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def pages(caller: Caller, path: str, limit: int) -> list[list[Any]]:
    """Every page of a list."""
    found, cursor = [], ""
    while True:
        answer = await caller("GET", f"{path}limit={limit}{cursor}")
        assert answer.status == 200, answer.raw
        assert set(answer.body) == {"items", "next_cursor"}
        found.append(answer.body["items"])
        if answer.body["next_cursor"] is None:
            return found
        assert len(answer.body["items"]) == limit
        cursor = f"&cursor={answer.body['next_cursor']}"


# --------------------------------------------------------------------------------- conventions


async def test_an_answer_carries_the_ids_of_its_request(shop: OpenShop) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    answer = await shop.anonymous(
        "GET",
        "/api/products",
        X_Request_Id="from-the-client",
        traceparent=f"00-{trace}-00f067aa0ba902b7-01",
    )
    assert answer.headers["X-Request-Id"] == "from-the-client"
    assert trace in answer.headers["traceparent"]
    without = await shop.anonymous("GET", "/api/products", X_Request_Id="three words long")
    assert UUID7.fullmatch(without.headers["X-Request-Id"])
    for each in (answer, without):
        assert each.headers["X-Content-Type-Options"] == "nosniff"
        assert "Server" not in each.headers


@pytest.mark.parametrize("place", ["order", "payment", "shipment", "saga", "stock", "product"])
async def test_a_reader_who_has_it_already_is_told_so(shop: OpenShop, place: str) -> None:
    placed = await shop.placed()
    await shop.ended(placed)
    path = {
        "order": f"/api/orders/{placed}",
        "payment": f"/api/payments/{placed}",
        "shipment": f"/api/shipping/{placed}",
        "saga": f"/api/sagas/{placed}",
        "stock": "/api/inventory/PEN-01",
        "product": "/api/products/PEN-01",
    }[place]
    read = await shop.staff("GET", path)
    assert read.status == 200
    again = await shop.staff("GET", path, If_None_Match=read.headers["ETag"])
    assert (again.status, again.raw) == (304, b"")
    assert again.headers["ETag"] == read.headers["ETag"]
    assert (await shop.staff("GET", path, If_None_Match='"another"')).status == 200


async def test_every_process_tells_how_it_is(shop: OpenShop) -> None:
    base = shop.settings.port_base
    for port in range(base, base + 8):
        url = f"http://127.0.0.1:{port}"
        live = await shop.anonymous("GET", f"{url}/health/live")
        ready = await shop.anonymous("GET", f"{url}/health/ready")
        metrics = await shop.anonymous("GET", f"{url}/metrics")
        assert (live.status, ready.status, metrics.status) == (200, 200, 200)
        assert ready.body["status"] == "ready"
        assert ready.body["checks"]
        assert set(ready.body["checks"].values()) == {"ok"}
        assert metrics.headers["Content-Type"].startswith("text/plain")
        assert b"# TYPE http_requests_total counter" in metrics.raw
        for answer in (live, ready, metrics):
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert "Server" not in answer.headers


async def test_every_service_answers_on_its_own_port(shop: OpenShop) -> None:
    roots = {
        1: "/api/products",
        2: "/api/orders",
        3: "/api/customers",
        4: "/api/payments",
        5: "/api/inventory",
        6: "/api/shipping",
        7: "/api/sagas",
    }
    for distance, path in roots.items():
        url = f"http://127.0.0.1:{shop.settings.port_base + distance}{path}"
        assert (await shop.staff("GET", url)).status == 200, path


# ------------------------------------------------------------------------------------ products


async def test_a_product_is_made_edited_and_archived(shop: OpenShop) -> None:
    made = await shop.staff("POST", "/api/products", product("VASE-1", amount=700))
    path = "/api/products/VASE-1"
    assert (made.status, made.headers["Location"]) == (201, path)
    assert made.body == {**product("VASE-1", 700), "available": 0, "active": True, "version": 1}

    stock = await until(
        lambda: shop.staff("GET", "/api/inventory/VASE-1"), lambda found: found.status == 200
    )
    assert stock.body["on_hand"] == 0
    delivery = {"delta": 3, "reason": "delivery"}
    adjusted = await shop.staff("POST", "/api/inventory/VASE-1/adjustments", delivery)
    assert (adjusted.status, adjusted.body["available"]) == (200, 3)
    read = await until(
        lambda: shop.anonymous("GET", path), lambda found: found.body["available"] == 3
    )
    assert read.headers["ETag"] == made.headers["ETag"] == '"1"'

    content = {name: value for name, value in product("VASE-1", 650).items() if name != "sku"}
    edited = await shop.staff("PUT", path, content, If_Match='"1"')
    assert (edited.status, edited.headers["ETag"]) == (200, '"2"')
    assert edited.body["price"] == {"amount": 650, "currency": "USD"}
    assert (await shop.staff("PUT", path, content, If_Match='"1"')).code == "stale_version"

    placed = await until(
        lambda: shop.customer("POST", "/api/orders", order(sku="VASE-1")),
        lambda found: found.status == 202 and found.body["total"]["amount"] == 650,
    )
    assert (await shop.staff("DELETE", path)).status == 204
    archived = await shop.anonymous("GET", path)
    assert (archived.status, archived.body["active"]) == (200, False)
    listed = await shop.anonymous("GET", "/api/products?category=things&limit=100")
    assert "VASE-1" not in {each["sku"] for each in listed.body["items"]}
    await shop.orderable("VASE-1", 422)
    old = await shop.customer("GET", f"/api/orders/{placed.body['order_id']}")
    assert old.body["lines"][0]["name"] == "A thing"


async def test_the_catalogue_is_searched_sorted_and_paged(shop: OpenShop) -> None:
    everything = [
        each for page in await pages(shop.anonymous, "/api/products?", 5) for each in page
    ]
    skus = [each["sku"] for each in everything]
    assert skus == sorted(skus)
    assert len(everything) >= 12

    async def found(query: str) -> list[Any]:
        listed = await pages(shop.anonymous, f"/api/products?{query}&", 2)
        return [each for page in listed for each in page]

    for query, field in (("sort=price", "price"), ("sort=-price", "price"), ("sort=name", "name")):
        values = [each[field] for each in await found(query)]
        values = [each["amount"] if field == "price" else each for each in values]
        assert values == sorted(values, reverse="-" in query), query
        assert len(values) == len(everything)
    assert [each["sku"] for each in await found("q=astroLABE")] == ["RARE-01"]
    assert {each["sku"] for each in await found("q=lamp&category=lighting")} >= {
        "LAMP-01",
        "LAMP-02",
        "LAMP-03",
    }
    dear = await found("min_price=2890&max_price=7900")
    assert {"KNIFE-01", "LAMP-02"} <= {each["sku"] for each in dear}
    assert all(2_890 <= each["price"]["amount"] <= 7_900 for each in dear)
    assert await found("q=%25") == await found("category=none") == []


async def test_stock_is_listed_by_sku(shop: OpenShop) -> None:
    found = [each["sku"] for page in await pages(shop.staff, "/api/inventory?", 5) for each in page]
    assert found == sorted(found)
    assert {"LAMP-01", "RARE-01", "GONE-01"} <= set(found)


# ----------------------------------------------------------------------------------- customers


async def test_somebody_registers_signs_in_and_changes_their_mind(shop: OpenShop) -> None:
    body = {"name": "Bea", "email": "Bea@Example.com", "password": PASSWORD, "address": ADDRESS}
    made = await shop.anonymous("POST", "/api/customers", body)
    assert made.status == 201
    assert made.headers["Location"] == f"/api/customers/{made.body['customer_id']}"

    sign_in = {"email": "bea@example.com", "password": PASSWORD}
    session = await shop.anonymous("POST", "/api/sessions", sign_in)
    assert session.status == 200
    assert (session.body["token_type"], session.body["role"]) == ("Bearer", "customer")
    assert session.body["expires_in"] == 3_600
    bea = shop.bearing(session.body["access_token"])
    me = await bea("GET", "/api/customers/me")
    assert me.body == made.body == {
        "customer_id": session.body["customer_id"],
        "name": "Bea",
        "email": "bea@example.com",
        "phone": None,
        "address": ADDRESS,
        "role": "customer",
    }  # fmt: skip

    tag = me.headers["ETag"]
    changed = await bea("PATCH", "/api/customers/me", {"phone": "+1 555"}, If_Match=tag)
    assert (changed.status, changed.body["phone"]) == (200, "+1 555")
    assert changed.headers["ETag"] != tag
    stale = await bea("PATCH", "/api/customers/me", {"phone": None}, If_Match=tag)
    assert (stale.status, stale.code) == (412, "stale_version")

    token = {"refresh_token": session.body["refresh_token"]}
    renewed = await shop.anonymous("POST", "/api/sessions/refresh", token)
    assert renewed.status == 200
    token = {"refresh_token": renewed.body["refresh_token"]}
    assert (await shop.anonymous("DELETE", "/api/sessions", token)).status == 204
    assert (await shop.anonymous("POST", "/api/sessions/refresh", token)).status == 401


async def test_nobody_guesses_a_password_at_leisure(shop: OpenShop) -> None:
    await shop.registered("guessed@example.com")
    guess = {"email": "guessed@example.com", "password": "is it this one?"}
    for _ in range(5):
        answer = await shop.anonymous("POST", "/api/sessions", guess)
        assert (answer.status, answer.code) == (401, "invalid_credentials")
    right = {**guess, "password": PASSWORD}
    limited = await shop.anonymous("POST", "/api/sessions", right)
    assert (limited.status, limited.code) == (429, "rate_limited")
    assert 1 <= int(limited.headers["Retry-After"]) <= 60
    assert {"RateLimit", "RateLimit-Policy"} <= set(limited.headers)


async def test_a_deleted_customer_leaves_orders_without_an_address(shop: OpenShop) -> None:
    gone = await shop.registered("gone@example.com")
    placed = [await shop.placed(gone) for _ in range(2)]
    for order_id in placed:
        await shop.reached(order_id, "delivered")
    assert (await gone("DELETE", "/api/customers/me")).status == 204
    for order_id in placed:
        left = await until(
            lambda order_id=order_id: shop.staff("GET", f"/api/orders/{order_id}"),
            lambda found: found.body["shipping_address"] is None,
        )
        assert left.body["customer_id"] == gone.id
        assert left.body["status"] == "delivered"
    assert (await gone("GET", "/api/customers/me")).status == 404
    anonymised = await shop.staff("GET", f"/api/customers/{gone.id}")
    assert b"gone@example.com" not in anonymised.raw
    sign_in = {"email": "gone@example.com", "password": PASSWORD}
    assert (await shop.anonymous("POST", "/api/sessions", sign_in)).code == "invalid_credentials"
    await shop.registered("gone@example.com")  # the address is free again


# --------------------------------------------------------------------------------------- carts


async def test_a_cart_becomes_one_order(shop: OpenShop) -> None:
    buyer = await shop.registered("cart@example.com")
    cart = await buyer("GET", "/api/carts/me")
    assert cart.body == {"customer_id": buyer.id, "items": []}
    filled = await buyer(
        "PUT", "/api/carts/me/items/MUG-01", {"quantity": 2}, If_Match=cart.headers["ETag"]
    )
    assert filled.body == {"customer_id": buyer.id, "items": [{"sku": "MUG-01", "quantity": 2}]}
    assert filled.headers["ETag"] != cart.headers["ETag"]
    late = await buyer(
        "PUT", "/api/carts/me/items/MUG-01", {"quantity": 3}, If_Match=cart.headers["ETag"]
    )
    assert (late.status, late.code) == (412, "stale_version")
    await buyer("PUT", "/api/carts/me/items/PEN-01", {"quantity": 1})
    assert (await buyer("DELETE", "/api/carts/me/items/PEN-01")).status == 204

    first = await buyer("POST", f"/api/carts/{buyer.id}/checkout", CHECKOUT)
    second = await buyer("POST", "/api/carts/me/checkout", CHECKOUT)
    assert (first.status, second.status) == (202, 202)
    assert first.body["order_id"] == second.body["order_id"]
    assert first.body["total"] == {"amount": 2_500, "currency": "USD"}
    assert first.headers["Location"] == f"/api/orders/{first.body['order_id']}"
    assert (await buyer("GET", "/api/carts/me")).body["items"] == []

    await buyer("PUT", "/api/carts/me/items/PEN-01", {"quantity": 1})
    third = await buyer("POST", "/api/carts/me/checkout", CHECKOUT)
    assert third.body["order_id"] != first.body["order_id"]
    await buyer("PUT", "/api/carts/me/items/PEN-01", {"quantity": 1})
    assert (await buyer("DELETE", "/api/carts/me")).status == 204
    assert (await buyer("POST", "/api/carts/me/checkout", CHECKOUT)).code == "cart_empty"


async def test_of_two_edits_of_the_same_cart_one_comes_too_late(shop: OpenShop) -> None:
    buyer = await shop.registered("two-tabs@example.com")
    tag = (await buyer("GET", "/api/carts/me")).headers["ETag"]
    answers = await asyncio.gather(
        *(
            buyer("PUT", f"/api/carts/me/items/{sku}", {"quantity": 1}, If_Match=tag)
            for sku in ("PEN-01", "MUG-01", "LAMP-01")
        )
    )
    assert sorted(answer.status for answer in answers) == [200, 412, 412]
    assert len((await buyer("GET", "/api/carts/me")).body["items"]) == 1


# -------------------------------------------------------------------------------------- orders


async def test_an_order_is_accepted_and_seen_through(shop: OpenShop) -> None:
    answer = await shop.customer("POST", "/api/orders", order(quantity=2))
    id_ = answer.body["order_id"]
    assert answer.status == 202
    assert answer.headers["Location"] == f"/api/orders/{id_}"
    assert UUID7.fullmatch(id_)
    assert answer.body == {
        "order_id": id_,
        "saga_id": id_,
        "status": "pending",
        "total": {"amount": 3_998, "currency": "USD"},
        "links": {
            "order": f"/api/orders/{id_}",
            "saga": f"/api/sagas/{id_}",
            "events": f"/api/sagas/{id_}/events",
        },
    }
    seen = await shop.reached(id_, "delivered")
    assert [entry["status"] for entry in seen["history"]] == [
        "pending",
        "paid",
        "confirmed",
        "shipped",
        "delivered",
    ]
    assert all(RFC3339.fullmatch(entry["at"]) for entry in seen["history"])
    assert seen["lines"] == [
        {
            "sku": "LAMP-01",
            "name": "Desk Lamp",
            "quantity": 2,
            "unit_price": {"amount": 1_999, "currency": "USD"},
        }
    ]
    assert seen["customer_id"] == shop.customer.id
    assert seen["payment"] == {"status": "captured", "payment_id": seen["payment"]["payment_id"]}
    assert seen["shipment"]["status"] == "delivered"
    assert seen["cancellation_request"] is seen["cancellation"] is None


async def test_a_client_may_wait_for_the_outcome(shop: OpenShop) -> None:
    async def placed(prefer: str, token: str = "tok_ok") -> tuple[int, str | None, str]:
        answer = await shop.customer("POST", "/api/orders", order(token=token), Prefer=prefer)
        return answer.status, answer.headers.get("Preference-Applied"), answer.body["status"]

    assert (await placed("wait=10"))[:2] == (200, "wait=10")
    assert await placed("wait=99", "tok_declined") == (200, "wait=30", "cancelled")
    assert await placed("respond-async, wait=5", "tok_declined") == (200, "wait=5", "cancelled")
    assert await placed("wait=soon") == (202, None, "pending")
    assert await placed("wait=-1") == (202, None, "pending")
    # The provider is down for good: that is known some seconds later.
    assert await placed("wait=1", "tok_outage") == (202, "wait=1", "pending")


@pytest.mark.parametrize(
    ("choices", "code", "charges"),
    [
        ({"token": "tok_declined"}, "payment_declined", 0),
        ({"token": "tok_timeout"}, None, 1),
        ({"token": "tok_flaky"}, None, 1),
        ({"sku": "RARE-01", "quantity": 6}, "insufficient_stock", 1),
        ({"sku": "GONE-01"}, "insufficient_stock", 1),
        ({"postal_code": "00000"}, "undeliverable_address", 1),
        ({"postal_code": "99999"}, "lost_in_transit", 1),
    ],
)
async def test_scripted_values_end_as_the_table_says(
    shop: OpenShop, choices: dict[str, Any], code: str | None, charges: int
) -> None:
    id_ = await shop.placed(**choices)
    saga = await shop.ended(id_)
    ended = await shop.reached(id_, "delivered", "cancelled")
    assert (ended["cancellation"] or {}).get("code") == code
    assert saga["status"] == ("completed" if code is None else "compensated")
    listed = await shop.customer("GET", f"/api/payments?order_id={id_}")
    (payment,) = listed.body["items"]
    assert payment["charges"] == charges
    assert ended["payment"] == {name: payment[name] for name in ("status", "payment_id")}
    expected = ended["total"]["amount"] if code is not None and charges else 0
    assert payment["refunded"]["amount"] == expected


async def test_lists_are_walked_newest_first(shop: OpenShop) -> None:
    buyer = await shop.registered("lists@example.com")
    placed = [await shop.placed(buyer) for _ in range(7)]
    for id_ in placed:
        await shop.ended(id_)
    newest = placed[::-1]
    for path, name in (
        ("/api/orders?", "order_id"),
        ("/api/orders?status=delivered&", "order_id"),
        ("/api/payments?", "payment_id"),
        ("/api/shipping?", "shipment_id"),
    ):
        found = await pages(buyer, path, 3)
        assert [len(page) for page in found] == [3, 3, 1], path
        assert [each[name] for page in found for each in page] == newest, path
    assert (await buyer("GET", "/api/orders?status=cancelled")).body["items"] == []
    for path in ("/api/payments", "/api/shipping"):
        found = await pages(buyer, f"{path}?order_id={placed[0]}&", 20)
        assert [[each["order_id"] for each in page] for page in found] == [[placed[0]]]
    mine = f"/api/sagas?since={(await _saga(shop, placed[0]))['started_at']}&"
    sagas = [each for page in await pages(shop.staff, mine, 3) for each in page]
    assert [each["saga_id"] for each in sagas if each["saga_id"] in placed] == newest
    assert not any("events" in each for each in sagas)


async def _saga(shop: OpenShop, id_: str) -> Any:
    return (await shop.staff("GET", f"/api/sagas/{id_}")).body


async def test_staff_order_for_a_customer_and_see_everybodys(shop: OpenShop) -> None:
    body = order(customer_id=shop.other.id)
    id_ = (await shop.staff("POST", "/api/orders", body)).body["order_id"]
    assert (await shop.other("GET", f"/api/orders/{id_}")).body["customer_id"] == shop.other.id
    assert (await shop.customer("GET", f"/api/orders/{id_}")).status == 404
    for path in (f"/api/payments/{id_}", f"/api/shipping/{id_}", f"/api/sagas/{id_}"):
        await until(lambda path=path: shop.other("GET", path), lambda found: found.status == 200)


# ---------------------------------------------------------------------------------- cancelling


async def test_a_customer_cancels_before_the_parcel_leaves(slow_shop: OpenShop) -> None:
    stock = (await slow_shop.staff("GET", "/api/inventory/POT-01")).body
    id_ = await slow_shop.placed(sku="POT-01", quantity=3)
    await slow_shop.reached(id_, "confirmed")
    held = (await slow_shop.staff("GET", "/api/inventory/POT-01")).body
    assert (held["reserved"], held["available"]) == (stock["reserved"] + 3, stock["available"] - 3)

    path = f"/api/orders/{id_}/cancel"
    asked = await slow_shop.customer("POST", path, {"reason": "too slow"})
    request = asked.body["cancellation_request"]
    assert asked.status == 202
    assert (request["by"], request["reason"]) == (slow_shop.customer.id, "too slow")

    saga = await slow_shop.ended(id_)
    ended = await _with_parcel(slow_shop, id_, "cancelled")
    assert ended["status"] == "cancelled"
    assert ended["cancellation"] == {"code": "cancelled_by_customer", "detail": "too slow"}
    assert ended["cancellation_request"]["status"] == "done"
    assert ended["payment"]["status"] == "refunded"
    assert saga["status"] == "compensated"
    assert {step["name"]: step["status"] for step in saga["steps"]} == {
        "place_order": "compensated",
        "take_payment": "compensated",
        "reserve_stock": "compensated",
        "schedule_shipment": "compensated",
        "dispatch_parcel": "skipped",
        "deliver_parcel": "skipped",
    }
    after = (await slow_shop.staff("GET", "/api/inventory/POT-01")).body
    assert (after["on_hand"], after["reserved"]) == (stock["on_hand"], stock["reserved"])
    again = await slow_shop.customer("POST", path)
    assert (again.status, again.code) == (409, "too_late_to_cancel")


async def test_staff_cancel_an_order_or_its_saga(slow_shop: OpenShop) -> None:
    for path, body in (("orders", None), ("sagas", {"reason": "out of stock after all"})):
        id_ = await slow_shop.placed()
        await slow_shop.reached(id_, "confirmed")
        await until(  # the tracker is a listener like any other
            lambda id_=id_: slow_shop.staff("GET", f"/api/sagas/{id_}"),
            lambda found: found.status == 200,
        )
        asked = await slow_shop.staff("POST", f"/api/{path}/{id_}/cancel", body)
        assert asked.status == 202
        ended = await slow_shop.reached(id_, "cancelled")
        assert ended["cancellation"]["code"] == "cancelled_by_staff"
        request = ended["cancellation_request"]
        assert (request["by"], request["status"]) == (slow_shop.staff.id, "done")


async def test_what_has_left_cannot_be_cancelled(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed()
    await slow_shop.reached(id_, "confirmed")
    assert (await slow_shop.report(id_, "dispatched", "left")).status == 202
    await slow_shop.reached(id_, "shipped")
    answer = await slow_shop.customer("POST", f"/api/orders/{id_}/cancel", {"reason": "no"})
    assert (answer.status, answer.code) == (409, "too_late_to_cancel")


# ------------------------------------------------------------------------------------ payments


async def test_staff_refund_a_part_then_the_rest(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed(quantity=2)
    await slow_shop.delivered(id_)
    path = f"/api/payments/{id_}"
    part = {"amount": {"amount": 998, "currency": "USD"}, "reason": "a scratch"}
    paid = await slow_shop.refunded(id_, part)
    assert paid == {
        "payment_id": id_,
        "order_id": id_,
        "status": "partially_refunded",
        "amount": {"amount": 3_998, "currency": "USD"},
        "refunded": {"amount": 998, "currency": "USD"},
        "charges": 1,
    }
    over = {"amount": {"amount": 3_001, "currency": "USD"}, "reason": "greed"}
    refused = await slow_shop.staff("POST", f"{path}/refund", over)
    assert (refused.status, refused.code) == (409, "over_refund")
    whole = await slow_shop.staff("POST", f"{path}/refund", {"reason": "it broke"})
    assert (whole.status, whole.body["status"]) == (200, "refunded")
    assert whole.body["refunded"]["amount"] == 3_998
    nothing = await slow_shop.staff("POST", f"{path}/refund", {"reason": "again"})
    assert (nothing.status, nothing.code) == (409, "over_refund")
    told = await until(
        lambda: slow_shop.customer("GET", f"/api/orders/{id_}"),
        lambda found: found.body["payment"]["status"] == "refunded",
    )
    assert told.body["status"] == "delivered"


# ------------------------------------------------------------------------------------ shipping


async def test_the_carrier_reports_in_any_order_and_anybody_tracks(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed()
    number = (await slow_shop.reached(id_, "confirmed"))["shipment"]["tracking_number"]

    async def track() -> tuple[str, list[str]]:
        answer = await slow_shop.anonymous("GET", f"/api/shipping/track/{number}")
        assert answer.status == 200
        assert set(answer.body) == {"tracking_number", "status", "history"}
        assert all(set(entry) == {"status", "at"} for entry in answer.body["history"])
        return answer.body["status"], [entry["status"] for entry in answer.body["history"]]

    assert await track() == ("scheduled", ["scheduled"])
    # The first word of the carrier's is that the parcel is on its way: so it has left.
    moved = await slow_shop.report(id_, "in_transit", "scan-1")
    assert (moved.status, moved.body["status"]) == (202, "in_transit")
    assert await track() == ("in_transit", ["scheduled", "dispatched", "in_transit"])
    assert (await _with_parcel(slow_shop, id_, "in_transit"))["status"] == "shipped"
    again = await slow_shop.report(id_, "in_transit", "scan-1")
    assert (again.status, again.body) == (moved.status, moved.body)
    assert await track() == ("in_transit", ["scheduled", "dispatched", "in_transit"])
    arrived = await slow_shop.report(id_, "delivered", "scan-2")
    assert arrived.body["status"] == "delivered"
    late = await slow_shop.report(id_, "in_transit", "scan-0", occurred_at="2026-01-01T00:00:00Z")
    assert (late.status, late.body["status"]) == (202, "delivered")
    assert (await track())[0] == "delivered"
    saga = await slow_shop.ended(id_)
    types = [event["type"] for event in saga["events"]]
    assert types.count("ParcelDispatched") == types.count("ParcelDelivered") == 1
    assert saga["status"] == "completed"


async def _with_parcel(shop: OpenShop, id_: str, status: str) -> Any:
    """The order once it has heard so of its parcel."""
    found = await until(
        lambda: shop.staff("GET", f"/api/orders/{id_}"),
        lambda answer: answer.body["shipment"]["status"] == status,
    )
    return found.body


async def test_a_report_is_for_the_carrier_alone_also_the_second_time(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed()
    await slow_shop.reached(id_, "confirmed")
    path = f"/api/shipping/{id_}/events"
    body = {"event_id": "e", "status": "dispatched", "occurred_at": "2026-01-01T00:00:00Z"}
    signed = slow_shop.signed(body, Idempotency_Key="report")
    first = await slow_shop.anonymous("POST", path, **signed)
    again = await slow_shop.anonymous("POST", path, **signed)
    assert (first.status, again.status, again.is_replayed) == (202, 202, True)
    signed.pop("Carrier_Signature")
    stranger = await slow_shop.anonymous("POST", path, **signed)
    assert (stranger.status, stranger.code) == (401, "unauthenticated")


async def test_a_parcel_that_leaves_after_its_cancellation_needs_a_person(
    slow_shop: OpenShop,
) -> None:
    id_ = await slow_shop.placed()
    await slow_shop.reached(id_, "confirmed")
    await slow_shop.customer("POST", f"/api/orders/{id_}/cancel")
    await slow_shop.ended(id_)
    assert (await slow_shop.report(id_, "dispatched", "too-late")).status == 202
    await until(
        lambda: slow_shop.staff("GET", "/api/sagas?status=attention"),
        lambda found: [each["saga_id"] for each in found.body["items"]] == [id_],
    )
    assert (await slow_shop.reached(id_, "cancelled"))["payment"]["status"] == "refunded"


# --------------------------------------------------------------------------------------- sagas


async def test_a_saga_is_there_as_soon_as_its_order_is(shop: OpenShop) -> None:
    async def follow(path: str) -> int:
        placed = (await shop.customer("POST", "/api/orders", order())).body
        return (await shop.customer("GET", f"/api/sagas/{placed['saga_id']}{path}")).status

    found = await asyncio.gather(*(follow(path) for path in ("", "/events") * 20))
    assert set(found) == {200}


async def test_a_saga_shows_what_was_done_and_what_remains(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed(token="tok_flaky")
    await slow_shop.reached(id_, "confirmed")
    found = await until(
        lambda: slow_shop.customer("GET", f"/api/sagas/{id_}"),
        lambda found: len(found.body["remaining"]) == 2,
    )
    saga = found.body
    assert (saga["saga_id"], saga["type"]) == (id_, "order-to-delivery")
    assert (saga["status"], saga["stuck"]) == ("running", False)
    assert saga["remaining"] == ["dispatch_parcel", "deliver_parcel"]
    assert saga["finished_at"] is saga["duration_ms"] is saga["failure"] is None
    assert saga["violations"] == []
    payment = saga["steps"][1]
    assert (payment["name"], payment["participant"]) == ("take_payment", "payment")
    assert (payment["compensation"], payment["status"]) == ("refund_payment", "done")
    assert payment["attempts"] == 3
    placed = saga["events"][0]
    assert (placed["type"], placed["participant"]) == ("OrderPlaced", "order")
    assert placed["data"]["order_id"] == id_
    for secret in (b"tok_flaky", b"1 Main St", b"Springfield"):
        assert secret not in found.raw

    await slow_shop.delivered(id_)
    done = await _saga(slow_shop, id_)
    assert (done["status"], done["remaining"]) == ("completed", [])
    assert isinstance(done["duration_ms"], int)


async def test_a_stream_tells_what_was_and_what_comes(slow_shop: OpenShop) -> None:
    id_ = await slow_shop.placed()
    path = f"/api/sagas/{id_}/events"
    following = asyncio.ensure_future(slow_shop.customer.stream(path))
    await slow_shop.delivered(id_)
    messages = await following
    assert [message["event"] for message in messages] == [
        "OrderPlaced",
        "PaymentTaken",
        "StockReserved",
        "ShipmentScheduled",
        "ParcelDispatched",
        "ParcelDelivered",
    ]
    events = [orjson.loads(message["data"]) for message in messages]
    assert [event["event_id"] for event in events] == [message["id"] for message in messages]
    by_id = {event["event_id"]: event for event in (await _saga(slow_shop, id_))["events"]}
    owner = (await slow_shop.customer("GET", f"/api/sagas/{id_}")).body["events"]
    assert set(by_id) == {event["event_id"] for event in owner}
    assert sorted(events, key=str) == sorted(owner, key=str)

    rest = await slow_shop.customer.stream(path, Last_Event_ID=messages[2]["id"])
    assert rest == messages[3:]
    assert await slow_shop.staff.stream(path, Last_Event_ID="unknown") == messages
    assert await slow_shop.customer.stream(path, Last_Event_ID=messages[-1]["id"]) == []


async def test_the_flow_is_drawn_from_the_code(shop: OpenShop) -> None:
    graph = await shop.anonymous("GET", "/api/sagas/graph")
    assert graph.status == 200
    assert set(graph.body) == {"mermaid", "nodes", "edges"}
    assert "take_payment" in graph.body["mermaid"]
    assert graph.body["nodes"]
    assert graph.body["edges"]


async def test_no_message_was_given_up_in_all_these_stories(
    shop: OpenShop, slow_shop: OpenShop
) -> None:
    for opened in (shop, slow_shop):
        letters = await opened.staff("GET", "/api/dead-letters")
        assert (letters.status, letters.body["items"]) == (200, [])
        replays = await opened.staff("POST", "/api/dead-letters/replay", {"reason": "tidy"})
        assert (replays.status, replays.body) == (202, {"replays": 0})
