"""Whatever a client sends, the answer is a problem with its code: never a 500, never a stack."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import jwt
import orjson
import pytest
import pytest_asyncio

from participants.shipping.webhook import sign
from tests.e2e.conftest import ADDRESS, PASSWORD, Answer, Caller, OpenShop, order, product, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content_Type": "application/json"}
ORDER = orjson.dumps(order())
INVALID = "validation_failed"


@dataclass(frozen=True)
class Case:
    """``path`` may name places of ``Counter``. ``at``: the faulty places, as the answer says."""

    name: str
    who: str
    request: str
    status: int
    code: str
    json: Any = None
    raw: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    at: tuple[str, ...] = ()


class Counter:
    """The shop with something of everything in it, and all sorts of callers."""

    def __init__(self, shop: OpenShop) -> None:
        self.shop = shop
        self.places: dict[str, str] = {}
        self.callers: dict[str, Caller] = {
            "anonymous": shop.anonymous,
            "customer": shop.customer,
            "other": shop.other,
            "staff": shop.staff,
        }

    async def fill(self) -> None:
        shop = self.shop
        running, delivered = [await shop.placed() for _ in range(2)]
        await shop.delivered(delivered)
        await shop.reached(running, "confirmed")
        await shop.product("ARCHIVED-1")
        assert (await shop.staff("DELETE", "/api/products/ARCHIVED-1")).status == 204
        await shop.orderable("ARCHIVED-1", 422)
        await until(
            lambda: shop.staff("GET", "/api/sagas"), lambda found: len(found.body["items"]) == 2
        )
        sagas = await shop.staff("GET", "/api/sagas?limit=1")
        by_price = await shop.customer("GET", "/api/products?sort=price&limit=1")
        self.places = {
            "running": running,
            "delivered": delivered,
            "staff": shop.staff.id,
            "sagas_cursor": sagas.body["next_cursor"],
            "price_cursor": by_price.body["next_cursor"],
        }

    def forge(self) -> None:
        """Tokens that are not, or no longer, or not here, good for anything."""
        secret = self.shop.settings.jwt_secret
        claims = jwt.decode(self.shop.staff.token, options={"verify_signature": False})
        tokens = {
            "expired": jwt.encode({**claims, "exp": 1}, secret, "HS256"),
            "never expiring": jwt.encode({**claims, "exp": "NaN"}, secret, "HS256"),
            "forged": jwt.encode(claims, "another secret of thirty-two characters", "HS256"),
            "unsigned": jwt.encode(claims, None, "none"),
            "otherwise signed": jwt.encode(claims, secret * 2, "HS512"),
            "for another audience": jwt.encode({**claims, "aud": "bank"}, secret, "HS256"),
            "by another issuer": jwt.encode({**claims, "iss": "bank"}, secret, "HS256"),
            "nobody's": jwt.encode({**claims, "sub": ""}, secret, "HS256"),
            "no token": "three.little.words",
            "endless": "x" * 5_000,
        }
        self.callers |= {name: self.shop.bearing(token) for name, token in tokens.items()}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def counter(slow_shop: OpenShop) -> AsyncIterator[Counter]:
    counter = Counter(slow_shop)
    await counter.fill()
    counter.forge()
    yield counter


# ---------------------------------------------------------------------------------- the bodies


def _order_cases() -> list[Case]:
    line = {"sku": "LAMP-01", "quantity": 1}
    card = {"method": "card", "token": "tok_ok"}
    fifty_one = [{"sku": f"SKU-{number}", "quantity": 1} for number in range(51)]
    wrong: list[tuple[str, Any, str]] = [
        ("quantity true", order(quantity=True), "/lines/0/quantity"),  # type: ignore[arg-type]
        ("quantity text", order(quantity="2"), "/lines/0/quantity"),  # type: ignore[arg-type]
        ("quantity 1.5", order(quantity=1.5), "/lines/0/quantity"),  # type: ignore[arg-type]
        ("quantity 1.0", order(quantity=1.0), "/lines/0/quantity"),  # type: ignore[arg-type]
        ("quantity null", order(quantity=None), "/lines/0/quantity"),  # type: ignore[arg-type]
        ("quantity 0", order(quantity=0), "/lines/0/quantity"),
        ("quantity -1", order(quantity=-1), "/lines/0/quantity"),
        ("quantity 1001", order(quantity=1_001), "/lines/0/quantity"),
        ("quantity 2**63", order(quantity=2**63), "/lines/0/quantity"),
        ("quantity missing", order(lines=[{"sku": "LAMP-01"}]), "/lines/0/quantity"),
        ("sku a number", order(lines=[{"sku": 1, "quantity": 1}]), "/lines/0/sku"),
        ("sku empty", order(sku=""), "/lines/0/sku"),
        ("sku of 65 signs", order(sku="S" * 65), "/lines/0/sku"),
        ("sku with a space", order(sku="LAMP 01"), "/lines/0/sku"),
        ("sku with a line end", order(sku="LAMP-01\n"), "/lines/0/sku"),
        ("a price of the client's", order(lines=[{**line, "price": 1}]), "/lines/0/price"),
        ("no lines", order(lines=[]), "/lines"),
        ("lines null", order(lines=None), "/lines"),
        ("lines an object", order(lines=line), "/lines"),
        ("51 lines", order(lines=fifty_one), "/lines"),
        ("a SKU twice", order(lines=[line, line]), "/lines"),
        ("another field", order(note="hurry"), "/note"),
        ("customer a number", order(customer_id=7), "/customer_id"),
        ("customer empty", order(customer_id=""), "/customer_id"),
        ("payment missing", {k: v for k, v in order().items() if k != "payment"}, "/payment"),
        ("payment method", order(payment={**card, "method": "cash"}), "/payment/method"),
        ("payment token empty", order(token=""), "/payment/token"),
        ("payment token NUL", order(token="tok\0ok"), "/payment/token"),
        ("card number", order(payment={**card, "number": "4242"}), "/payment/number"),
        ("address null", order(shipping_address=None), "/shipping_address"),
        (
            "country of three letters",
            order(shipping_address={**ADDRESS, "country": "USA"}),
            "/shipping_address/country",
        ),
        (
            "country that is none",
            order(shipping_address={**ADDRESS, "country": "XX"}),
            "/shipping_address/country",
        ),
        (
            "country in small letters",
            order(shipping_address={**ADDRESS, "country": "us"}),
            "/shipping_address/country",
        ),
        ("postal code blank", order(postal_code=" "), "/shipping_address/postal_code"),
        (
            "city with a bell",
            order(shipping_address={**ADDRESS, "city": "Ding\a"}),
            "/shipping_address/city",
        ),
        (
            "city with DEL",
            order(shipping_address={**ADDRESS, "city": "Ulm\x7f"}),
            "/shipping_address/city",
        ),
        (
            "line1 of 201 signs",
            order(shipping_address={**ADDRESS, "line1": "x" * 201}),
            "/shipping_address/line1",
        ),
    ]
    return [
        Case(f"order: {name}", "customer", "POST /api/orders", 422, INVALID, body, at=(place,))
        for name, body, place in wrong
    ]


def _raw_cases() -> list[Case]:
    def with_quantity(digits: bytes) -> bytes:
        return ORDER.replace(b'"quantity":1', b'"quantity":' + digits)

    no_json = [
        ("nothing", b""),
        ("not JSON", b"lines=1"),
        ("cut off", ORDER[:-1]),
        ("something behind", ORDER + b"{}"),
        ("byte order mark", b"\xef\xbb\xbf" + ORDER),
        ("NaN", with_quantity(b"NaN")),
        ("Infinity", with_quantity(b"-Infinity")),
        ("a number of 5000 digits", with_quantity(b"9" * 5_000)),
        ("a name twice", with_quantity(b'1,"quantity":2')),
        ("5000 brackets", b"[" * 5_000 + b"]" * 5_000),
        ("33 objects deep", b'{"a":' * 33 + b"1" + b"}" * 33),
        ("a lone surrogate", ORDER.replace(b"Springfield", b"\\ud800")),
        ("invalid UTF-8", ORDER.replace(b"Springfield", b"\xff\xfe")),
        ("a bare line end in text", ORDER.replace(b"Springfield", b"Spring\nfield")),
    ]
    wrong_type = [
        ("no content type", {}),
        ("text", {"Content_Type": "text/plain"}),
        ("a form", {"Content_Type": "application/x-www-form-urlencoded"}),
        ("Latin-1", {"Content_Type": "application/json; charset=latin-1"}),
    ]
    path, who = "POST /api/orders", "customer"
    return [
        *(Case(name, who, path, 400, "malformed_request", raw=raw, headers=JSON)
          for name, raw in no_json),
        *(Case(name, who, path, 415, "unsupported_media_type", raw=ORDER, headers=headers)
          for name, headers in wrong_type),
        Case("gzip", who, path, 415, "unsupported_media_type", raw=gzip.compress(ORDER),
             headers={**JSON, "Content_Encoding": "gzip"}),
        Case("null", who, path, 422, INVALID, raw=b"null", headers=JSON, at=("",)),
        Case("a list", who, path, 422, INVALID, raw=b"[]", headers=JSON, at=("",)),
        Case("10**30", who, path, 422, INVALID, raw=with_quantity(b"1" + b"0" * 30), headers=JSON,
             at=("/lines/0/quantity",)),
        Case("1e400", who, path, 422, INVALID, raw=with_quantity(b"1e400"), headers=JSON,
             at=("/lines/0/quantity",)),
        Case("65 KiB", who, path, 413, "body_too_large", raw=b" " * 65 * 1_024, headers=JSON),
        Case("64 KiB and a byte", who, path, 413, "body_too_large", headers=JSON,
             raw=ORDER + b" " * (64 * 1_024 + 1 - len(ORDER))),
    ]  # fmt: skip


def _field_cases() -> list[Case]:
    """The other routes' bodies."""
    somebody = {"name": "Ada", "email": "ada@example.com", "password": PASSWORD}
    wrong: list[tuple[str, str, Any, str]] = [
        ("anonymous", "POST /api/customers", somebody | {"email": "ada"}, "/email"),
        ("anonymous", "POST /api/customers", somebody | {"email": "a@b"}, "/email"),
        ("anonymous", "POST /api/customers", somebody | {"email": "a b@example.com"}, "/email"),
        ("anonymous", "POST /api/customers", somebody | {"password": "ninesigns"}, "/password"),
        ("anonymous", "POST /api/customers", somebody | {"password": 1234567890}, "/password"),
        ("anonymous", "POST /api/customers", somebody | {"role": "staff"}, "/role"),
        ("anonymous", "POST /api/customers", somebody | {"name": ""}, "/name"),
        ("anonymous", "POST /api/customers", somebody | {"phone": "1\t2"}, "/phone"),
        ("anonymous", "POST /api/sessions", {"email": "a@b.org\n", "password": "x"}, "/email"),
        ("anonymous", "POST /api/sessions", {"email": "a@b.org", "password": "\0"}, "/password"),
        ("anonymous", "POST /api/sessions", {"email": "a@b.org"}, "/password"),
        ("anonymous", "POST /api/sessions/refresh", {"refresh_token": "a\0b"}, "/refresh_token"),
        ("anonymous", "DELETE /api/sessions", {"refresh_token": "a\nb"}, "/refresh_token"),
        ("customer", "PATCH /api/customers/me", {"name": None}, "/name"),
        ("customer", "PATCH /api/customers/me", {"password": PASSWORD}, "/password"),
        ("customer", "PUT /api/carts/me/items/LAMP-01", {"quantity": 0}, "/quantity"),
        ("customer", "PUT /api/carts/me/items/LAMP-01", {"quantity": True}, "/quantity"),
        ("customer", "POST /api/orders/{running}/cancel", {"reason": ""}, "/reason"),
        ("staff", "POST /api/products", product("A B"), "/sku"),
        ("staff", "POST /api/products", product("X", amount=-1), "/price/amount"),
        ("staff", "POST /api/products", product("X", amount=2**63), "/price/amount"),
        ("staff", "POST /api/products",
         product("X", price={"amount": 1, "currency": "usd"}), "/price/currency"),
        ("staff", "POST /api/products",
         product("X", price={"amount": 1, "currency": "DOLLAR"}), "/price/currency"),
        ("staff", "POST /api/products", product("X", available=9), "/available"),
        ("staff", "POST /api/inventory/LAMP-01/adjustments",
         {"delta": 0, "reason": "x"}, "/delta"),
        ("staff", "POST /api/inventory/LAMP-01/adjustments",
         {"delta": 10**30, "reason": "x"}, "/delta"),
        ("staff", "POST /api/inventory/LAMP-01/adjustments", {"delta": 1}, "/reason"),
        ("staff", "POST /api/payments/{delivered}/refund",
         {"amount": {"amount": 0, "currency": "USD"}, "reason": "x"}, "/amount/amount"),
        ("staff", "POST /api/payments/{delivered}/refund", {"amount": 5, "reason": "x"}, "/amount"),
        ("staff", "POST /api/payments/{delivered}/refund", {}, "/reason"),
        ("staff", "POST /api/sagas/{running}/cancel", {}, "/reason"),
        ("staff", "POST /api/dead-letters/replay", {}, "/reason"),
    ]  # fmt: skip
    return [
        Case(f"{request}: {place} #{number}", who, request, 422, INVALID, body, at=(place,))
        for number, (who, request, body, place) in enumerate(wrong)
    ]


# --------------------------------------------------------------------------------- the queries


def _query_cases() -> list[Case]:
    wrong = [
        ("customer", "/api/orders?limit=0", "limit"),
        ("customer", "/api/orders?limit=101", "limit"),
        ("customer", "/api/orders?limit=abc", "limit"),
        ("customer", "/api/orders?limit=1.5", "limit"),
        ("customer", "/api/orders?limit=", "limit"),
        ("customer", "/api/orders?limit=%D9%A1", "limit"),
        ("customer", "/api/orders?limit=1&limit=1", "limit"),
        ("customer", "/api/orders?page=2", "page"),
        ("customer", "/api/orders?status=lost", "status"),
        ("customer", "/api/orders?cursor=abc", "cursor"),
        ("customer", "/api/orders?cursor=%00", "cursor"),
        ("customer", "/api/orders?cursor=" + "a" * 1_001, "cursor"),
        ("customer", "/api/orders?cursor={sagas_cursor}", "cursor"),
        ("customer", "/api/products?sort=name&cursor={price_cursor}", "cursor"),
        ("customer", "/api/products?cursor={price_cursor}", "cursor"),
        ("anonymous", "/api/products?sort=-name", "sort"),
        ("anonymous", "/api/products?min_price=-1", "min_price"),
        ("anonymous", "/api/products?max_price=1e3", "max_price"),
        ("anonymous", "/api/products?max_price=99999999999999999999", "max_price"),
        ("anonymous", "/api/products?q=", "q"),
        ("anonymous", "/api/products?q=%07", "q"),
        ("customer", "/api/payments?order_id=", "order_id"),
        ("customer", "/api/shipping?order_id=a%20b", "order_id"),
        ("staff", "/api/customers?email=x", "email"),
        ("staff", "/api/inventory?sku=x", "sku"),
        ("staff", "/api/sagas?since=yesterday", "since"),
        ("staff", "/api/sagas?since=2030-02-30T00:00:00Z", "since"),
        ("staff", "/api/sagas?since=2030-01-01", "since"),
        ("staff", "/api/sagas?stuck=yes", "stuck"),
        ("staff", "/api/sagas?status=odd", "status"),
        ("staff", "/api/sagas?cursor=odd", "cursor"),
        ("staff", "/api/dead-letters?status=odd", "status"),
        ("customer", "/api/orders/{running}?expand=lines", "expand"),
        ("customer", "/api/payments/{running}?x=1", "x"),
        ("customer", "/api/shipping/{running}?x=1", "x"),
        ("customer", "/api/sagas/{running}?x=1", "x"),
        ("customer", "/api/carts/me?x=1", "x"),
        ("customer", "/api/customers/me?x=1", "x"),
        ("anonymous", "/api/products/LAMP-01?x=1", "x"),
    ]
    return [
        Case(f"GET {path[:70]}", who, f"GET {path}", 422, INVALID, at=(name,))
        for who, path, name in wrong
    ] + [
        Case("a query beside a body", "customer", "POST /api/orders?x=1", 422, INVALID, order(),
             at=("x",)),
        Case("discarding without a reason", "staff", "DELETE /api/dead-letters/x", 422, INVALID,
             at=("reason",)),
        Case("discarding for a blank reason", "staff", "DELETE /api/dead-letters/x?reason=%20",
             422, INVALID, at=("reason",)),
    ]  # fmt: skip


# ------------------------------------------------------------------------- who, what, and when


def _caller_cases() -> list[Case]:
    staff_only = [
        ("POST /api/products", product("MINE-1")),
        ("PUT /api/products/LAMP-01", None),
        ("DELETE /api/products/LAMP-01", None),
        ("GET /api/customers", None),
        ("POST /api/payments/{running}/refund", {"reason": "mine"}),
        ("GET /api/inventory", None),
        ("GET /api/inventory/LAMP-01", None),
        ("POST /api/inventory/LAMP-01/adjustments", {"delta": 1, "reason": "mine"}),
        ("GET /api/sagas", None),
        ("POST /api/sagas/{running}/cancel", {"reason": "mine"}),
        ("GET /api/dead-letters", None),
        ("GET /api/dead-letters/x", None),
        ("POST /api/dead-letters/x/replay", None),
        ("POST /api/dead-letters/replay", {"reason": "mine"}),
        ("DELETE /api/dead-letters/x?reason=mine", None),
    ]
    private = [
        ("GET /api/orders/{running}", None),
        ("POST /api/orders/{running}/cancel", None),
        ("GET /api/payments/{running}", None),
        ("GET /api/shipping/{running}", None),
        ("GET /api/sagas/{running}", None),
        ("GET /api/sagas/{running}/events", None),
        ("GET /api/carts/{staff}", None),
        ("PUT /api/carts/{staff}/items/LAMP-01", {"quantity": 1}),
        ("DELETE /api/carts/{staff}", None),
        ("GET /api/customers/{staff}", None),
        ("PATCH /api/customers/{staff}", {"name": "Eve"}),
        ("DELETE /api/customers/{staff}", None),
        ("POST /api/orders", order(customer_id="somebody-else")),
    ]
    bad_tokens = [
        "expired",
        "never expiring",
        "forged",
        "unsigned",
        "otherwise signed",
        "for another audience",
        "by another issuer",
        "nobody's",
        "no token",
        "endless",
    ]
    return [
        *(Case(f"customer: {request}", "customer", request, 403, "forbidden", body)
          for request, body in staff_only),
        *(Case(f"other: {request}", "other", request, 404, "not_found", body)
          for request, body in private),
        *(Case(f"anonymous: {request}", "anonymous", request, 401, "unauthenticated", body)
          for request, body in [*staff_only, *private]),
        *(Case(f"{who} token", who, "GET /api/orders", 401, "unauthenticated")
          for who in bad_tokens),
        Case("not a bearer", "anonymous", "GET /api/orders", 401, "unauthenticated",
             headers={"Authorization": "Basic c3RhZmY6c3RhZmY="}),
        Case("a wrong password", "anonymous", "POST /api/sessions", 401, "invalid_credentials",
             {"email": "staff@example.com", "password": "staff-demo-passwort"}),
        Case("an unknown account", "anonymous", "POST /api/sessions", 401, "invalid_credentials",
             {"email": "nobody@example.com", "password": PASSWORD}),
        Case("a made-up refresh token", "anonymous", "POST /api/sessions/refresh", 401,
             "unauthenticated", {"refresh_token": "made.up"}),
        Case("an unsigned report", "anonymous", "POST /api/shipping/{running}/events", 401,
             "unauthenticated", {"event_id": "e"}),
        Case("a wrongly signed report", "anonymous", "POST /api/shipping/{running}/events", 401,
             "unauthenticated", {"event_id": "e"},
             headers={"Carrier_Signature": sign(b'{"event_id":"e"}', "guess", 1_900_000_000)}),
        Case("staff are no carrier", "staff", "POST /api/shipping/{running}/events", 401,
             "unauthenticated", {"event_id": "e"}),
    ]  # fmt: skip


def _state_cases() -> list[Case]:
    content = {name: value for name, value in product("X").items() if name != "sku"}
    unknown = [
        ("anonymous", "GET /api/products/NONE", None),
        ("anonymous", "GET /api/products/%00", None),
        ("anonymous", "GET /api/products/%FF", None),
        ("customer", "GET /api/orders/none", None),
        ("staff", "GET /api/payments/none", None),
        ("staff", "POST /api/payments/none/refund", {"reason": "x"}),
        ("staff", "GET /api/inventory/NONE", None),
        ("staff", "POST /api/inventory/NONE/adjustments", {"delta": 1, "reason": "x"}),
        ("staff", "GET /api/shipping/none", None),
        ("anonymous", "GET /api/shipping/track/NONE", None),
        ("staff", "GET /api/customers/none", None),
        ("staff", "PATCH /api/customers/none", {"name": "x"}),
        ("staff", "GET /api/carts/%00", None),
        ("staff", "PUT /api/carts/%0A/items/LAMP-01", {"quantity": 1}),
        ("staff", "GET /api/sagas/none", None),
        ("staff", "POST /api/sagas/none/cancel", {"reason": "x"}),
        ("staff", "GET /api/dead-letters/none", None),
        ("staff", "POST /api/dead-letters/none/replay", None),
        ("staff", "DELETE /api/dead-letters/none?reason=x", None),
        ("customer", "DELETE /api/carts/me/items/NONE", None),
        ("customer", "GET /api", None),
        ("customer", "GET /api/baskets", None),
        ("customer", "GET /nowhere", None),
        ("customer", "GET /api/orders/{running}/lines", None),
    ]
    methods = [
        "DELETE /api/orders",
        "PUT /api/orders/{running}",
        "PATCH /api/products/LAMP-01",
        "POST /api/customers/me",
        "OPTIONS /api/orders",
        "POST /health/live",
    ]
    stale, lamp = {"If_Match": '"99"'}, "PUT /api/products/LAMP-01"
    partial = {"amount": {"amount": 2_000, "currency": "USD"}, "reason": "x"}
    yen = {"amount": {"amount": 1, "currency": "JPY"}, "reason": "x"}
    return [
        *(Case(f"{who}: {request}", who, request, 404, "not_found", body)
          for who, request, body in unknown),
        *(Case(request, "staff", request, 405, "method_not_allowed") for request in methods),
        Case("no If-Match", "staff", lamp, 428, "precondition_required", content),
        Case("a stale If-Match", "staff", lamp, 412, "stale_version", content, headers=stale),
        Case("a weak If-Match", "staff", lamp, 412, "stale_version", content,
             headers={"If_Match": 'W/"1"'}),
        Case("an If-Match without quotes", "staff", lamp, 412, "stale_version", content,
             headers={"If_Match": "1"}),
        Case("a stale customer", "customer", "PATCH /api/customers/me", 412, "stale_version",
             {"name": "Ada"}, headers=stale),
        Case("a stale cart", "customer", "PUT /api/carts/me/items/LAMP-01", 412, "stale_version",
             {"quantity": 1}, headers=stale),
        Case("a SKU that exists", "staff", "POST /api/products", 409, "sku_taken",
             product("LAMP-01")),
        Case("a taken e-mail address", "anonymous", "POST /api/customers", 409, "email_taken",
             {"name": "Eve", "email": "Staff@Example.com", "password": PASSWORD}),
        Case("another's e-mail address", "customer", "PATCH /api/customers/me", 409, "email_taken",
             {"email": "staff@example.com"}),
        Case("an unknown SKU", "customer", "POST /api/orders", 422, "unknown_product",
             order(sku="NONE-1")),
        Case("an archived SKU", "customer", "POST /api/orders", 422, "unknown_product",
             order(sku="ARCHIVED-1")),
        Case("an unknown SKU in the cart", "customer", "PUT /api/carts/me/items/NONE-1", 422,
             "unknown_product", {"quantity": 1}),
        Case("an empty cart", "customer", "POST /api/carts/me/checkout", 422, "cart_empty",
             {"payment": order()["payment"], "shipping_address": ADDRESS}),
        Case("more than was paid", "staff", "POST /api/payments/{delivered}/refund", 409,
             "over_refund", partial),
        Case("other money than was paid", "staff", "POST /api/payments/{delivered}/refund", 422,
             "wrong_currency", yen),
        Case("a refund amid the saga", "staff", "POST /api/payments/{running}/refund", 409,
             "saga_running", {"reason": "x"}),
        Case("less than nothing", "staff", "POST /api/inventory/GONE-01/adjustments", 409,
             "insufficient_stock", {"delta": -1, "reason": "x"}),
        Case("cancelling what was delivered", "customer", "POST /api/orders/{delivered}/cancel",
             409, "too_late_to_cancel"),
        Case("staff cancelling it", "staff", "POST /api/sagas/{delivered}/cancel",
             409, "too_late_to_cancel", {"reason": "x"}),
        Case("a key of two words", "customer", "POST /api/orders", 422, INVALID, order(),
             headers={"Idempotency_Key": "two words"}, at=("",)),
    ]  # fmt: skip


CASES = [
    *_order_cases(),
    *_raw_cases(),
    *_field_cases(),
    *_query_cases(),
    *_caller_cases(),
    *_state_cases(),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_bad_request_is_told_what_is_wrong(counter: Counter, case: Case) -> None:
    method, path = case.request.format(**counter.places).split(" ", 1)
    headers = {**case.headers, "X_Request_Id": "asked-by-the-test"}
    answer = await counter.callers[case.who](method, path, case.json, raw=case.raw, **headers)
    problem = is_problem(answer, path)
    assert (answer.status, problem["code"]) == (case.status, case.code), problem
    assert tuple(_place(error) for error in problem.get("errors", ())) == case.at


def is_problem(answer: Answer, path: str) -> dict[str, Any]:
    """What holds for every refusal, whoever makes it: the gateway, a service, or the server."""
    headers = answer.headers
    assert headers["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = answer.body
    assert 400 <= problem["status"] == answer.status < 500, problem
    for name in ("type", "title", "detail", "code"):
        assert isinstance(problem[name], str), name
        assert problem[name], name
    assert problem["instance"] == path.partition("?")[0]
    assert problem["request_id"] == headers["X-Request-Id"] == "asked-by-the-test"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers
    assert (answer.status == 401) == ("WWW-Authenticate" in headers)
    assert (answer.status == 405) == ("Allow" in headers)
    assert b"Traceback" not in answer.raw
    return problem


def _place(error: dict[str, str]) -> str:
    """A pointer into the body or the name of a parameter, and a sentence."""
    assert error["detail"]
    assert len({"pointer", "parameter"} & set(error)) == 1
    return error.get("pointer", error.get("parameter", ""))


# --------------------------------------------------------------------- what takes several requests


async def test_a_used_refresh_token_ends_its_session(counter: Counter) -> None:
    shop = counter.shop
    body = {"email": "other@example.com", "password": PASSWORD}
    first = (await shop.anonymous("POST", "/api/sessions", body)).body["refresh_token"]
    path, asked = "/api/sessions/refresh", {"X_Request_Id": "asked-by-the-test"}
    second = await shop.anonymous("POST", path, {"refresh_token": first})
    assert second.status == 200
    for token in (first, second.body["refresh_token"]):
        answer = await shop.anonymous("POST", path, {"refresh_token": token}, **asked)
        problem = is_problem(answer, path)
        assert (answer.status, problem["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("age_s", [301, -301])
async def test_an_old_signature_is_none(counter: Counter, age_s: int) -> None:
    shop = counter.shop
    body = orjson.dumps(
        {"event_id": "old", "status": "dispatched", "occurred_at": "2030-01-01T00:00:00Z"}
    )
    at = int(shop.shop.clock.now()) - age_s
    path = f"/api/shipping/{counter.places['running']}/events"
    answer = await shop.anonymous(
        "POST",
        path,
        raw=body,
        Carrier_Signature=sign(body, shop.settings.carrier_secret, at),
        X_Request_Id="asked-by-the-test",
        **JSON,
    )
    assert (answer.status, is_problem(answer, path)["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"status": "scheduled"}, "/status"),
        ({"status": "cancelled"}, "/status"),
        ({"event_id": ""}, "/event_id"),
        ({"occurred_at": "now"}, "/occurred_at"),
        ({"occurred_at": "2030-01-01T00:00:00"}, "/occurred_at"),
        ({"occurred_at": "9999-12-31T23:59:59.999999Z"}, "/occurred_at"),
        ({"weather": "rain"}, "/weather"),
    ],
)
async def test_a_signed_report_is_read_as_strictly(
    counter: Counter, change: dict[str, str], place: str
) -> None:
    running = counter.places["running"]
    answer = await counter.shop.report(
        running, **{"status": "dispatched", "event_id": "e"} | change
    )
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert [error["pointer"] for error in answer.body["errors"]] == [place]


async def test_there_are_enough_of_them() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 80
