"""The contract's request models: what a client may send."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from contracts.api.base import ListQuery
from contracts.api.customers import ChangeCustomer, RegisterCustomer
from contracts.api.inventory import AdjustStock
from contracts.api.orders import CreateOrder
from contracts.api.payments import RefundPayment
from contracts.api.products import ProductsQuery, ReplaceProduct
from contracts.api.shipping import CarrierEvent
from contracts.values import Address, Money

ADDRESS = {"line1": "1 Main St", "city": "Springfield", "postal_code": "12345", "country": "US"}
ORDER = {
    "lines": [{"sku": "LAMP-01", "quantity": 2}],
    "payment": {"method": "card", "token": "tok_ok"},
    "shipping_address": ADDRESS,
}
PERSON = {"name": "Ann", "email": "Ann@Example.com", "password": "ten letters"}


def parse(model, content):
    return model.model_validate_json(json.dumps(content))


def faults(model, content):
    with pytest.raises(ValidationError) as refused:
        parse(model, content)
    return [fault["loc"] for fault in refused.value.errors()]


def test_the_documented_order_is_taken():
    order = parse(CreateOrder, {"customer_id": "me", **ORDER})
    assert order.lines[0].quantity == 2
    assert parse(CreateOrder, ORDER).customer_id == "me"


@pytest.mark.parametrize("quantity", [0, -1, 1_001, True, "2", 1.5, 2.0, None, 2**70])
def test_a_quantity_is_a_whole_number_from_1_to_1000(quantity):
    lines = [{"sku": "A", "quantity": quantity}]
    assert faults(CreateOrder, {**ORDER, "lines": lines}) == [("lines", 0, "quantity")]


def test_an_order_has_1_to_50_lines_each_sku_once():
    assert faults(CreateOrder, {**ORDER, "lines": []}) == [("lines",)]
    many = [{"sku": f"S{n}", "quantity": 1} for n in range(51)]
    assert faults(CreateOrder, {**ORDER, "lines": many}) == [("lines",)]
    assert len(parse(CreateOrder, {**ORDER, "lines": many[:50]}).lines) == 50
    assert faults(CreateOrder, {**ORDER, "lines": [many[0], many[0]]}) == [("lines",)]


@pytest.mark.parametrize("text", ["a\nb", "a\tb", "\x00", "a\x7f", "\x85", "", "  ", "x" * 201])
def test_text_has_no_control_characters_and_is_not_blank(text):
    assert faults(Address, {**ADDRESS, "city": text}) == [("city",)]


def test_text_is_taken_as_it_came():
    assert parse(Address, {**ADDRESS, "city": " Åre – 日本 🎉 "}).city == " Åre – 日本 🎉 "


@pytest.mark.parametrize("code", ["us", "USA", "XX", "U", "", "UK", "EU", 1])
def test_a_country_is_one_that_the_standard_knows(code):
    assert faults(Address, {**ADDRESS, "country": code}) == [("country",)]


@pytest.mark.parametrize(
    "money",
    [
        {"amount": -1, "currency": "USD"},
        {"amount": 10**12 + 1, "currency": "USD"},
        {"amount": 1.0, "currency": "USD"},
        {"amount": 1, "currency": "usd"},
        {"amount": 1, "currency": "USD\n"},
        {"amount": 1},
    ],
)
def test_money_is_whole_minor_units_of_a_currency(money):
    assert len(faults(Money, money)) == 1


def test_an_email_is_lower_cased_and_plausible():
    assert parse(RegisterCustomer, PERSON).email == "ann@example.com"
    for odd in (
        "ann",
        "ann@",
        "@example.com",
        "a b@example.com",
        "a@b",
        "a@b..c",
        "a@-b.c",
        "a@b.c\n",
    ):
        assert faults(RegisterCustomer, {**PERSON, "email": odd}) == [("email",)], odd


def test_a_password_has_10_to_200_characters():
    for bad in ("nine char", "x" * 201, "ten\nletters"):
        assert faults(RegisterCustomer, {**PERSON, "password": bad}) == [("password",)]


def test_a_change_tells_absent_from_cleared():
    assert parse(ChangeCustomer, {}).changes == {}
    assert parse(ChangeCustomer, {"phone": None}).changes == {"phone": None}
    assert parse(ChangeCustomer, {"name": "Bo"}).changes == {"name": "Bo"}
    assert faults(ChangeCustomer, {"name": None}) == [("name",)]
    assert faults(ChangeCustomer, {"role": "staff"}) == [("role",)]


def test_other_requests_are_as_strict():
    assert faults(AdjustStock, {"delta": 0, "reason": "none"}) == [("delta",)]
    assert faults(AdjustStock, {"delta": True, "reason": "none"}) == [("delta",)]
    zero = {"amount": {"amount": 0, "currency": "USD"}, "reason": "x"}
    assert faults(RefundPayment, zero) == [("amount", "amount")]
    assert parse(RefundPayment, {"reason": "x"}).amount is None
    assert faults(ReplaceProduct, {"name": "a"}) == [("description",), ("category",), ("price",)]
    event = {"event_id": "e1", "status": "delivered", "occurred_at": "2030-01-01T00:00:00Z"}
    assert parse(CarrierEvent, event).occurred_at.year == 2_030
    for odd in ("2030-01-01", "2030-01-01T00:00:00", "2030-13-01T00:00:00Z", 1_893_456_000):
        assert faults(CarrierEvent, {**event, "occurred_at": odd}) == [("occurred_at",)]


def test_query_values_are_text_that_must_be_exact():
    assert ListQuery.model_validate({}).limit == 20
    assert ListQuery.model_validate({"limit": "100"}).limit == 100
    for odd in ("0", "101", "1e2", "+5", " 5", "5.0", "٣", "", "1" * 19):
        with pytest.raises(ValidationError):
            ListQuery.model_validate({"limit": odd})
    assert ProductsQuery.model_validate({"min_price": "0", "sort": "-price"}).min_price == 0
    for odd in ({"min_price": "-1"}, {"sort": "-name"}, {"q": "a\nb"}, {"q": "\ud800"}, {"z": "1"}):
        with pytest.raises(ValidationError):
            ProductsQuery.model_validate(odd)


def test_what_is_secret_or_personal_is_marked():
    def marked(model):
        return {name for name, field in model.model_fields.items() if field.json_schema_extra}

    assert marked(RegisterCustomer) == {"name", "email", "password", "phone", "address"}
    assert marked(CreateOrder) == {"shipping_address"}
    assert marked(CreateOrder.model_fields["payment"].annotation) == {"token"}
    assert marked(Address) == set(ADDRESS)
