"""Operators of a database, as text and as objects, in every parameter and every field: they match
nothing. What is text stays text; what is no text is refused."""

from __future__ import annotations

import asyncio
import copy
from typing import Any
from urllib.parse import quote

from tests.contract.conftest import Stage
from tests.contract.documents import WHOLE, Place, first_example, places
from tests.contract.injection import OBJECTS, STRINGS
from tests.e2e.conftest import PASSWORD, Answer, OpenShop

VICTIM = "victim-{}@example.com"
#: Fields of people's own words: any text is right, and is kept as it is.
WORDS = {"name", "description", "category", "line1", "city", "postal_code", "phone"}
WORDS |= {"reason", "password", "token", "event_id"}
#: Answers that say that it is done when there was nothing to do: nothing was matched there.
NOTHING_TO_DO = {"delete /api/sessions refresh_token"}
PLACES = [place for place in places() if place.where != "header"]
HEADERS = [place for place in places() if place.where == "header"]


def test_enough_is_tried_in_every_place() -> None:
    assert len(STRINGS) >= 30
    assert len(OBJECTS) >= 30
    assert len(PLACES) > 80
    assert len(HEADERS) > 20


class Attack:
    """One place of one operation; everything else in the request is right."""

    def __init__(self, place: Place, stage: Stage, shop: OpenShop) -> None:
        self.place = place
        self.shop = shop
        self.operation = WHOLE["paths"][place.path][place.method]
        # Staff see everybody's: only there a filter that matches everything would show. But where
        # an owner is named, any name is one to staff: there a customer asks.
        security = self.operation["security"]
        owner = "customer_id" in (place.name, place.name[-1])
        self.caller = shop.anonymous
        if security and security != [{"carrier": []}]:
            is_staffs = security == [{"bearer": ["staff"]}]
            self.caller = shop.staff if is_staffs or not owner else shop.customer
        self.target = place.path
        for name, value in stage.known.items():
            if not (place.where == "path" and name == place.name):
                self.target = self.target.replace(f"{{{name}}}", value)
        self.body = first_example(self.operation)
        #: Required ones, except the one in question.
        self.query = [
            f"{each['name']}={quote(str(each['example']))}"
            for each in self.operation["parameters"]
            if each["in"] == "query" and each["required"] and each["name"] != place.name
        ]

    async def send(self, value: Any) -> Answer:
        place, target, body = self.place, self.target, copy.deepcopy(self.body)
        query, headers = list(self.query), {"If_Match": "*"}
        if place.where == "path":
            target = target.replace(f"{{{place.name}}}", quote(value, safe=""))
        elif place.where == "query":
            query.append(f"{place.name}={quote(value, safe='')}")
        elif place.where == "header":
            headers[place.name.replace("-", "_")] = value
        else:
            put(body, place.name, value)
            if place.path == "/api/sessions" and place.name == ("password",):
                # After five failures nothing more would be tried of an account.
                body["email"] = VICTIM.format(STRINGS.index(value) // 4 if value in STRINGS else 0)
        if query:
            target += "?" + "&".join(query)
        if self.operation["security"] == [{"carrier": []}]:
            return await self.shop.anonymous(
                place.method.upper(), target, **self.shop.signed(body), **headers
            )
        return await self.caller(place.method.upper(), target, body, **headers)


def put(body: Any, at: tuple[Any, ...], value: Any) -> None:
    """Replace a field; what leads to it is made where the example has none."""
    for step in at[:-1]:
        if isinstance(body, dict) and not isinstance(body.get(step), dict | list):
            body[step] = {}
        body = body[step]
    body[at[-1]] = value


def texts(item: dict[str, Any]) -> list[str]:
    return [said for said in item.values() if isinstance(said, str)]


def matched(place: Place, value: Any, answer: Answer) -> str:
    """What is wrong with the answer; nothing when nothing was matched."""
    if answer.status >= 500:
        return "a fault"
    if answer.status >= 300:
        return "" if answer.status in (400, 401, 404, 409, 422, 429) else "an odd refusal"
    name = place.name if isinstance(place.name, str) else place.name[-1]
    if answer.status == 204 and name in WORDS:
        return ""
    if f"{place.method} {place.path} {name}" in NOTHING_TO_DO:
        return "" if answer.status == 204 else "something"
    if answer.status == 204:
        return "something"
    body = answer.body
    if "items" in body and place.method == "get":
        # Text that another attack of these has just left somewhere is rightly found by its words.
        other = [each for each in body["items"] if not any(value in said for said in texts(each))]
        return "everything" if other else ""
    if "replays" in body:
        return "everything" if body["replays"] else ""
    if not isinstance(value, str) or name not in WORDS:
        return "it was taken"
    # Where it is shown again it is what was sent.
    if name in body and name != "price" and body[name] != value:
        return "it was changed"
    return ""


async def attack(place: Place, values: tuple[Any, ...], stage: Stage, shop: OpenShop) -> int:
    made = Attack(place, stage, shop)
    wrong = []
    for value in values:
        answer = await made.send(value)
        if said := matched(place, value, answer):
            wrong.append(f"{value!r}: {said}: {answer.status} {answer.raw[:200]!r}")
    assert not wrong, f"{place}:\n" + "\n".join(wrong)
    return len(values)


async def everything_tried(stage: Stage, shop: OpenShop) -> int:
    """Every place of every operation, several places at a time. How many requests were made."""
    victims = [
        await shop.registered(VICTIM.format(number)) for number in range(len(STRINGS) // 4 + 1)
    ]
    before = await _seen(stage, shop)
    turns = asyncio.Semaphore(8)

    async def of(path: str) -> int:
        """One at a time: edits of one thing would be in each other's way."""
        made = 0
        async with turns:
            for place in PLACES:
                if place.path == path:
                    made += await attack(place, STRINGS, stage, shop)
                    if place.where == "body":
                        made += await attack(place, OBJECTS, stage, shop)
        return made

    counts = await asyncio.gather(*(of(path) for path in {place.path for place in PLACES}))
    assert await _seen(stage, shop) == before
    for number, victim in enumerate(victims):
        body = {"email": VICTIM.format(number), "password": PASSWORD}
        answer = await shop.anonymous("POST", "/api/sessions", body)
        assert (answer.status, answer.body["customer_id"]) == (200, victim.id)
    return sum(counts)


async def test_operators_match_nothing(stage: Stage, shop: OpenShop) -> None:
    tried = await everything_tried(stage, shop)
    print(f"{tried} requests in {len(PLACES)} places")
    assert tried >= 30 * len(PLACES)


async def test_operators_in_headers_match_nothing(stage: Stage, shop: OpenShop) -> None:
    for place in HEADERS:
        made = Attack(place, stage, shop)
        for value in STRINGS:
            if value == "*" and place.name.startswith("If-"):
                continue  # which is HTTP for any version
            answer = await made.send(value)
            assert answer.status < 500, (place, value, answer.raw)
            assert answer.status != 304, (place, value)
            assert not answer.is_replayed, (place, value)
            if place.name == "If-Match":
                assert answer.status == 412, (place, value, answer.raw)


async def _seen(stage: Stage, shop: OpenShop) -> list[bytes]:
    """What must not be touched: whatever was asked, these were never named."""
    paths = [
        f"/api/orders/{stage.bystander}",
        f"/api/payments/{stage.bystander}",
        f"/api/shipping/{stage.bystander}",
        f"/api/customers/{shop.customer.id}",
        "/api/products/POT-01",
        "/api/inventory/POT-01",
    ]
    return [(await shop.staff("GET", path)).raw for path in paths]
