"""Stories of the catalogue."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from contracts.events.inventory import StockLevelChanged
from contracts.events.product import ProductChanged
from participants.demo import DEMO_PRODUCTS
from participants.product.api import SERVICE, ProductRoutes
from participants.product.steps import ArchiveProduct, product
from sagas import CommandRefused
from sagas.envelope import Message, event_type
from sagas.testing.memory import MemoryDatabase
from sagas.web.auth import Principal
from sagas.web.health import Degraded
from tests.participants.conftest import Answer, Serve, ServedService

STAFF = Principal("the-staff", "staff")
SHOPPER = Principal("somebody", "customer")


@pytest.fixture
async def shop(serve_service: Serve) -> ServedService:
    return await serve_service(SERVICE)


def content(**changes: Any) -> dict[str, Any]:
    return {
        "name": "Teapot",
        "description": "Pours without a drip",
        "category": "kitchen",
        "price": {"amount": 2500, "currency": "USD"},
        **changes,
    }


async def create(
    shop: ServedService,
    sku: str,
    caller: Principal | None = STAFF,
    key: str | None = None,
    **changes: Any,
) -> Answer:
    headers = {} if key is None else {"Idempotency_Key": key}
    body = {"sku": sku, **content(**changes)}
    return await shop("POST", "/api/products", body, caller=caller, **headers)


async def inventory_says(
    shop: ServedService, sku: str, available: int, sequence: int, on_hand: int = 10
) -> None:
    event = StockLevelChanged(
        sku=sku, on_hand=on_hand, reserved=on_hand - available, available=available
    )
    message = Message(
        id=f"level-{sku}-{sequence}",
        type=event_type(StockLevelChanged),
        source="/inventory",
        subject=sku,
        saga_id=None,
        sequence=sequence,
        time=0.0,
        data=event.model_dump_json().encode(),
    )
    await shop.broker.publish([message])  # returns once the service has stored and acked it


async def skus(shop: ServedService, query: str = "") -> list[str]:
    answer = await shop("GET", f"/api/products{query}")
    assert answer.status == 200, answer.raw
    return [item["sku"] for item in answer.body["items"]]


# ------------------------------------------------------------------------------------- creating


async def test_a_created_product_is_read_by_anybody(shop: ServedService) -> None:
    made = await create(shop, "TEA-01")
    assert made.status == 201
    assert made.headers["Location"] == "/api/products/TEA-01"
    assert made.headers["ETag"] == '"1"'
    expected = {"sku": "TEA-01", **content(), "available": 0, "active": True, "version": 1}
    assert made.body == expected
    read = await shop("GET", "/api/products/TEA-01")
    assert (read.status, read.body, read.headers["ETag"]) == (200, expected, '"1"')


async def test_what_anybody_may_read_may_be_kept(shop: ServedService) -> None:
    """The gateway shows it while this service is away; what is kept for one reader it would not."""
    await create(shop, "TEA-01")
    for path in ("/api/products", "/api/products/TEA-01"):
        assert (await shop("GET", path)).headers["Cache-Control"] == "public, no-cache"


async def test_only_staff_write(shop: ServedService) -> None:
    for caller, status, code in ((None, 401, "unauthenticated"), (SHOPPER, 403, "forbidden")):
        for answer in (
            await create(shop, "TEA-01", caller=caller),
            await shop("PUT", "/api/products/TEA-01", content(), caller=caller, If_Match='"1"'),
            await shop("DELETE", "/api/products/TEA-01", caller=caller),
        ):
            assert (answer.status, answer.code) == (status, code)


async def test_a_taken_sku_is_refused_even_with_a_new_key(shop: ServedService) -> None:
    await create(shop, "TEA-01", key="first")
    for key in (None, "second"):
        again = await create(shop, "TEA-01", key=key)
        assert (again.status, again.code) == (409, "sku_taken")


async def test_a_repeat_with_its_key_gets_the_first_answer(shop: ServedService) -> None:
    first = await create(shop, "TEA-01", key="k")
    second = await create(shop, "TEA-01", key="k")
    assert (second.status, second.body) == (201, first.body)
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_a_creation_whose_answer_was_lost_is_repeated_safely(
    shop: ServedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dies(*args: object) -> None:
        raise RuntimeError("the process dies between the write and the answer")

    with monkeypatch.context() as crash:
        crash.setattr(ProductRoutes, "_answer", dies)
        assert (await create(shop, "TEA-01", key="k")).status == 500
    again = await create(shop, "TEA-01", key="k")
    assert (again.status, again.body["version"]) == (201, 1)


async def test_concurrent_creations_of_one_sku_make_it_once(shop: ServedService) -> None:
    answers = await asyncio.gather(*(create(shop, "TEA-01") for _ in range(5)))
    assert sorted(answer.status for answer in answers) == [201, 409, 409, 409, 409]


async def test_a_bad_product_is_told_where(shop: ServedService) -> None:
    answer = await create(shop, "TEA-01", price={"amount": -1, "currency": "USD"}, colour="red")
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert {error["pointer"] for error in answer.body["errors"]} == {"/price/amount", "/colour"}


async def test_an_unknown_product_is_404(shop: ServedService) -> None:
    for answer in (
        await shop("GET", "/api/products/NONE"),
        await shop("PUT", "/api/products/NONE", content(), caller=STAFF, If_Match='"1"'),
        await shop("DELETE", "/api/products/NONE", caller=STAFF),
    ):
        assert (answer.status, answer.code) == (404, "not_found")


# -------------------------------------------------------------------------------------- editing


async def test_an_edit_needs_the_current_tag(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    path = "/api/products/TEA-01"
    without = await shop("PUT", path, content(), caller=STAFF)
    assert (without.status, without.code) == (428, "precondition_required")
    edited = await shop("PUT", path, content(name="Kettle"), caller=STAFF, If_Match='"1"')
    assert (edited.status, edited.headers["ETag"]) == (200, '"2"')
    assert (edited.body["name"], edited.body["version"]) == ("Kettle", 2)
    stale = await shop("PUT", path, content(), caller=STAFF, If_Match='"1"')
    assert (stale.status, stale.code) == (412, "stale_version")
    weak = await shop("PUT", path, content(), caller=STAFF, If_Match='W/"2"')
    assert weak.status == 412


async def test_of_editors_with_one_tag_exactly_one_wins(
    shop: ServedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(shop, "TEA-01")
    shop.hold_until_all_have_read(monkeypatch, 3)
    edits = (
        shop("PUT", "/api/products/TEA-01", content(name=f"No {n}"), caller=STAFF, If_Match='"1"')
        for n in range(3)
    )
    answers = await asyncio.gather(*edits)
    assert sorted(answer.status for answer in answers) == [200, 412, 412]
    winner = next(answer for answer in answers if answer.status == 200)
    assert (await shop("GET", "/api/products/TEA-01")).body == winner.body


async def test_editors_who_take_any_version_all_succeed(
    shop: ServedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(shop, "TEA-01")
    shop.hold_until_all_have_read(monkeypatch, 3)
    edits = (
        shop("PUT", "/api/products/TEA-01", content(name=f"No {n}"), caller=STAFF, If_Match="*")
        for n in range(3)
    )
    assert {answer.status for answer in await asyncio.gather(*edits)} == {200}
    assert (await shop("GET", "/api/products/TEA-01")).body["version"] == 4


async def test_any_number_of_editors_at_once_gets_no_fault(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    edits = (
        shop("PUT", "/api/products/TEA-01", content(name=f"No {n}"), caller=STAFF, If_Match="*")
        for n in range(256)
    )
    assert {answer.status for answer in await asyncio.gather(*edits)} == {200}
    assert (await shop("GET", "/api/products/TEA-01")).body["version"] == 257


async def test_an_archival_that_read_too_early_is_refused(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    await shop("PUT", "/api/products/TEA-01", content(), caller=STAFF, If_Match='"1"')
    with pytest.raises(CommandRefused, match="stale_version"):
        await shop.runner.execute(product.saga, "TEA-01", ArchiveProduct(expected=frozenset({1})))


async def test_an_archived_product_leaves_lists_and_stays_readable(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    stale = await shop("DELETE", "/api/products/TEA-01", caller=STAFF, If_Match='"7"')
    assert (stale.status, stale.code) == (412, "stale_version")
    for _ in range(2):  # a repeat changes nothing
        gone = await shop("DELETE", "/api/products/TEA-01", caller=STAFF)
        assert (gone.status, gone.raw) == (204, b"")
    read = await shop("GET", "/api/products/TEA-01")
    assert (read.status, read.body["active"], read.body["version"]) == (200, False, 2)
    assert await skus(shop) == []
    edit = await shop("PUT", "/api/products/TEA-01", content(), caller=STAFF, If_Match='"2"')
    assert (edit.status, edit.code) == (409, "product_archived")
    assert (await create(shop, "TEA-01")).code == "sku_taken"


async def test_every_change_is_announced_with_absolute_values(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    path = "/api/products/TEA-01"
    await shop("PUT", path, content(name="Kettle"), caller=STAFF, If_Match='"1"')
    await shop("DELETE", path, caller=STAFF)
    await shop("DELETE", path, caller=STAFF)

    said = [(each.name, each.active) for each in await shop.announced(ProductChanged, 3)]
    assert said == [("Teapot", True), ("Kettle", True), ("Kettle", False)]
    assert [each.sequence for each in shop.broker.messages.values()] == [1, 2, 3]


# ----------------------------------------------------------------------------------- conditions


async def test_a_reader_who_has_the_version_gets_304(shop: ServedService) -> None:
    await create(shop, "TEA-01")
    same = await shop("GET", "/api/products/TEA-01", If_None_Match='W/"1", "9"')
    assert (same.status, same.raw, same.headers["ETag"]) == (304, b"", '"1"')
    assert (await shop("GET", "/api/products/TEA-01", If_None_Match='"2"')).status == 200


async def test_available_follows_inventory_in_any_order_and_moves_no_version(
    shop: ServedService,
) -> None:
    await create(shop, "TEA-01")
    await inventory_says(shop, "TEA-01", available=7, sequence=3)
    await inventory_says(shop, "TEA-01", available=9, sequence=2)  # late: already overtaken
    read = await shop("GET", "/api/products/TEA-01")
    assert (read.body["available"], read.body["version"]) == (7, 1)
    await inventory_says(shop, "TEA-01", available=0, sequence=4)
    assert (await shop("GET", "/api/products")).body["items"][0]["available"] == 0


async def test_stock_may_be_known_before_its_product(shop: ServedService) -> None:
    await inventory_says(shop, "TEA-01", available=7, sequence=1)
    assert (await shop("GET", "/api/products/TEA-01")).status == 404
    assert (await create(shop, "TEA-01")).body["available"] == 7


# ---------------------------------------------------------------------------------------- lists


@pytest.fixture
async def stocked(shop: ServedService) -> ServedService:
    for sku, name, category, amount, description in (
        ("A", "Zither", "music", 300, "Forty strings"),
        ("B", "Äolsharfe", "music", 100, "Played by the wind"),
        ("C", "Mug", "kitchen", 200, "For wind and weather"),
        ("D", "Bowl", "kitchen", 200, "100% clay_"),
    ):
        price = {"amount": amount, "currency": "USD"}
        await create(shop, sku, name=name, category=category, price=price, description=description)
    return shop


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", "ABCD"),
        ("?category=kitchen", "CD"),
        ("?category=Kitchen", ""),
        ("?q=wind", "BC"),
        ("?q=MUG", "C"),
        ("?q=%C3%A4OLS", "B"),
        ("?q=100%25", "D"),
        ("?q=y_", "D"),
        ("?q=%25wind", ""),
        ("?min_price=200", "ACD"),
        ("?max_price=200", "BCD"),
        ("?min_price=200&max_price=200", "CD"),
        ("?min_price=5&max_price=1", ""),
        ("?sort=name", "DCAB"),
        ("?sort=price", "BCDA"),
        ("?sort=-price", "ADCB"),
        ("?category=kitchen&q=clay&sort=price", "D"),
    ],
)
async def test_lists_filter_and_sort(stocked: ServedService, query: str, expected: str) -> None:
    assert "".join(await skus(stocked, query)) == expected


@pytest.mark.parametrize("sort", ["", "name", "price", "-price"])
async def test_pages_of_any_order_add_up_to_the_whole(stocked: ServedService, sort: str) -> None:
    order = f"&sort={sort}" if sort else ""
    whole = await skus(stocked, f"?limit=100{order}")
    seen: list[str] = []
    cursor = ""
    for _ in range(4):
        answer = (await stocked("GET", f"/api/products?limit=1{order}{cursor}")).body
        seen += [item["sku"] for item in answer["items"]]
        cursor = f"&cursor={answer['next_cursor']}"
    assert (seen, answer["next_cursor"]) == (whole, None)


async def test_a_cursor_is_good_for_its_own_order_only(stocked: ServedService) -> None:
    cursor = (await stocked("GET", "/api/products?limit=1&sort=price")).body["next_cursor"]
    for other in ("", "&sort=name", "&sort=-price"):
        answer = await stocked("GET", f"/api/products?cursor={cursor}{other}")
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert answer.body["errors"][0]["parameter"] == "cursor"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=1.5", "min_price=-1", "max_price=x", "sort=sku", "q=", "a=b"],
)
async def test_a_bad_query_is_422(shop: ServedService, query: str) -> None:
    answer = await shop("GET", f"/api/products?{query}")
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.body["errors"][0]["parameter"] == query.partition("=")[0]


# ----------------------------------------------------------------------------------------- seed


async def test_the_demo_catalogue_is_seeded_once_however_often(serve_service: Serve) -> None:
    shop = await serve_service(SERVICE, seed="demo")
    await asyncio.gather(SERVICE.seed(shop.context), SERVICE.seed(shop.context))
    await shop("DELETE", "/api/products/PEN-01", caller=STAFF)
    await SERVICE.seed(shop.context)
    answer = await shop("GET", "/api/products?limit=100")
    seen = {item["sku"]: item for item in answer.body["items"]}
    assert len(seen) == len(DEMO_PRODUCTS) - 1
    assert {each["version"] for each in seen.values()} == {1}
    assert len({each["category"] for each in seen.values()}) >= 3
    assert seen["LAMP-01"]["price"] == {"amount": 1999, "currency": "USD"}
    announced = await shop.announced(ProductChanged, len(DEMO_PRODUCTS) + 1)
    assert len([each for each in announced if each.active]) == len(DEMO_PRODUCTS)


async def test_it_is_seeded_once_all_stock_has_arrived(serve_service: Serve) -> None:
    database = MemoryDatabase()
    shop = await serve_service(SERVICE, seed="demo", database=database)
    with pytest.raises(Degraded, match="LAMP-01"):
        await SERVICE.seeded(shop.context)
    await SERVICE.seed(shop.context)
    for each in DEMO_PRODUCTS:  # inventory has heard of the products, not seeded their stock
        await inventory_says(shop, each.sku, 0, sequence=1, on_hand=0)
    with pytest.raises(Degraded, match="LAMP-01"):
        await SERVICE.seeded(shop.context)
    for each in DEMO_PRODUCTS:
        await inventory_says(shop, each.sku, each.on_hand, sequence=2, on_hand=each.on_hand)
    await SERVICE.seeded(shop.context)
    await inventory_says(shop, "RARE-01", 0, sequence=9, on_hand=0)  # sold out
    await SERVICE.seeded(shop.context)


async def test_without_a_demo_nothing_is_seeded_and_nothing_awaited(shop: ServedService) -> None:
    await SERVICE.seed(shop.context)
    await SERVICE.seeded(shop.context)
    assert await skus(shop) == []


async def test_what_was_created_survives_a_restart(serve_service: Serve) -> None:
    database = MemoryDatabase()
    before = await serve_service(SERVICE, database=database)
    made = await create(before, "TEA-01", key="k")
    await before.runner.kill()
    after = await serve_service(SERVICE, database=database)
    again = await create(after, "TEA-01", key="k")
    assert (again.status, again.body) == (201, made.body)
    assert await after.runner.get(product.saga, "TEA-01") is not None
