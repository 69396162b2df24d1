"""The tracker's routes on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from sagas.testing.harness import Harness
from sagas.tracker import routes
from sagas.web.app import make_app, serve
from sagas.web.auth import Principal, Tokens
from sagas.web.idempotency import Idempotency
from tests.tracker import toy
from tests.tracker.bakery import Bakery
from tests.tracker.history import SAGA

STREAM = {"Accept": "text/event-stream"}


class Client:
    """Asks the tracker's service; ``ada`` is the toy's guest."""

    def __init__(self, session: aiohttp.ClientSession, tokens: Tokens) -> None:
        self._session = session
        self._tokens = tokens

    def headers(self, who: str | None, **more: str) -> dict[str, str]:
        if who is None:
            return more
        role = "staff" if who == "eve" else "guest"
        return {"Authorization": f"Bearer {self._tokens.issue(Principal(who, role))}", **more}

    async def ask(
        self, method: str, path: str, who: str | None = "eve", json: Any = None, **headers: str
    ) -> tuple[int, Any, aiohttp.ClientResponse]:
        async with self._session.request(
            method, path, headers=self.headers(who, **headers), json=json
        ) as response:
            body = await response.read()
            return response.status, orjson.loads(body) if body else None, response

    async def stream(self, who: str, **headers: str) -> list[dict[str, str]]:
        """The messages of a whole stream."""
        path = f"/api/sagas/{SAGA}/events"
        async with self._session.get(
            path, headers=self.headers(who, **STREAM, **headers)
        ) as response:
            assert response.status == 200
            text = (await response.read()).decode()
        blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
        return [dict(line.split(": ", 1) for line in block.splitlines()) for block in blocks]


@pytest.fixture
async def client(bakery: Bakery) -> AsyncIterator[Client]:
    world: Harness = bakery.world
    tokens = Tokens("a secret of at least thirty-two characters", world.clock)
    store = bakery.database.store("http")
    await store.open([Idempotency.COLLECTION])
    app = make_app(world.ids, tokens=tokens)
    app.add_routes(routes(bakery.tracker, Idempotency(store, world.clock, world.ids)))
    server = await serve(app, "127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{server.port}") as session:
        yield Client(session, tokens)
    await server.stop(1.0)


async def test_a_saga_is_its_owners_and_staffs(bakery: Bakery, client: Client) -> None:
    await bakery.order()

    status, saga, response = await client.ask("GET", f"/api/sagas/{SAGA}", "ada")
    assert (status, saga["saga_id"], saga["status"]) == (200, SAGA, "running")
    assert [event["type"] for event in saga["events"]] == ["Ordered", "Baked", "Packed"]
    tag = response.headers["ETag"]
    assert (await client.ask("GET", f"/api/sagas/{SAGA}", "ada", **{"If-None-Match": tag}))[
        0
    ] == 304
    assert (await client.ask("GET", f"/api/sagas/{SAGA}", "eve"))[0] == 200
    assert (await client.ask("GET", f"/api/sagas/{SAGA}", "bob"))[0] == 404
    assert (await client.ask("GET", f"/api/sagas/{SAGA}", None))[0] == 401
    assert (await client.ask("GET", "/api/sagas/other", "eve"))[0] == 404
    assert (await client.ask("GET", f"/api/sagas/{SAGA}/events", "bob", **STREAM))[0] == 404


async def test_staff_list_sagas_in_pages(bakery: Bakery, client: Client) -> None:
    for number in range(3):
        await bakery.order(f"saga-{number}", parcel="huge" if number == 1 else "small")

    _, first, _ = await client.ask("GET", "/api/sagas?limit=2")
    assert [saga["saga_id"] for saga in first["items"]] == ["saga-2", "saga-1"]
    assert "events" not in first["items"][0]
    _, rest, _ = await client.ask("GET", f"/api/sagas?limit=2&cursor={first['next_cursor']}")
    assert [saga["saga_id"] for saga in rest["items"]] == ["saga-0"]
    assert rest["next_cursor"] is None

    async def ids(query: str) -> list[str]:
        status, found, _ = await client.ask("GET", f"/api/sagas?{query}")
        assert status == 200
        return [saga["saga_id"] for saga in found["items"]]

    assert await ids("status=compensated") == ["saga-1"]
    assert await ids("stuck=true") == []
    assert await ids("stuck=false&type=cake-to-table") == ["saga-2", "saga-1", "saga-0"]
    assert await ids("type=other") == []
    assert await ids(f"since={first['items'][0]['started_at']}") == ["saga-2"]
    for wrong in ("status=odd", "stuck=1", "since=today", "limit=0", "odd=1", "cursor=odd"):
        status, problem, _ = await client.ask("GET", f"/api/sagas?{wrong}")
        assert (status, problem["code"]) == (422, "validation_failed"), wrong
    assert (await client.ask("GET", "/api/sagas", "ada"))[0] == 403
    assert (await client.ask("GET", "/api/sagas", None))[0] == 401


async def test_the_graph_is_for_everybody(client: Client) -> None:
    status, graph, _ = await client.ask("GET", "/api/sagas/graph", None)

    assert status == 200
    assert graph["mermaid"].startswith("flowchart")
    assert {node["name"] for node in graph["nodes"]} >= {"bake", "bin_cake", "carry"}
    assert {"source": "bake", "target": "pack", "event": "Baked", "refusal": False} in graph[
        "edges"
    ]


async def test_events_are_streamed_until_the_end(bakery: Bakery, client: Client) -> None:
    await bakery.order()
    listener = asyncio.create_task(client.stream("ada"))
    await bakery.courier(toy.Carry(), toy.HandOver())
    messages = await asyncio.wait_for(listener, 10)

    _, saga, _ = await client.ask("GET", f"/api/sagas/{SAGA}", "ada")
    assert [message["event"] for message in messages] == [
        "Ordered",
        "Baked",
        "Packed",
        "Carried",
        "HandedOver",
    ]
    assert [orjson.loads(message["data"]) for message in messages] == saga["events"]
    assert [message["id"] for message in messages] == [each["event_id"] for each in saga["events"]]

    rest = await client.stream("ada", **{"Last-Event-ID": messages[2]["id"]})
    assert rest == messages[3:]


async def test_without_the_streams_media_type_events_come_in_pages(
    bakery: Bakery, client: Client
) -> None:
    await bakery.order()
    path = f"/api/sagas/{SAGA}/events?limit=2"

    _, first, _ = await client.ask("GET", path, "ada")
    assert [event["type"] for event in first["items"]] == ["Ordered", "Baked"]
    _, rest, _ = await client.ask("GET", f"{path}&cursor={first['next_cursor']}", "ada")
    assert [event["type"] for event in rest["items"]] == ["Packed"]


async def test_staff_cancel_a_saga(bakery: Bakery, client: Client) -> None:
    await bakery.order()
    path, why = f"/api/sagas/{SAGA}/cancel", {"reason": "recall"}
    assert (await client.ask("POST", path, "ada", why))[0] == 403
    assert (await client.ask("POST", path, "eve", {}))[0] == 422
    assert (await client.ask("POST", "/api/sagas/other/cancel", "eve", why))[0] == 404

    key = {"Idempotency-Key": "once"}
    status, saga, _ = await client.ask("POST", path, "eve", why, **key)
    assert (status, saga["saga_id"]) == (202, SAGA)
    await bakery.settle()
    assert (await client.ask("POST", path, "eve", why, **key))[0] == 202
    status, problem, _ = await client.ask("POST", path, "eve", why)
    assert (status, problem["code"]) == (409, "too_late_to_cancel")
    _, saga, _ = await client.ask("GET", f"/api/sagas/{SAGA}")
    assert saga["status"] == "compensated"
    assert [event["type"] for event in saga["events"]].count("CancelRequested") == 1


async def test_dead_letters_are_staffs_alone(bakery: Bakery, client: Client) -> None:
    bakery.oven.fault = "broken"
    await bakery.order()
    _, listed, _ = await client.ask("GET", "/api/dead-letters?participant=kitchen&cause=Permanent")
    [letter] = listed["items"]
    path = f"/api/dead-letters/{letter['dead_letter_id']}"
    assert letter["saga_id"] == SAGA
    assert letter["data"]["card"] == "[redacted]"
    assert "4000-1234" not in repr(letter)
    assert "Permanent" in letter["stack"]
    assert (await client.ask("GET", path))[1] == letter
    for method, place in (
        ("GET", path),
        ("POST", path + "/replay"),
        ("DELETE", path + "?reason=x"),
    ):
        assert (await client.ask(method, place, "ada"))[0] == 403
    _, saga, _ = await client.ask("GET", f"/api/sagas/{SAGA}", "ada")
    assert "oven is broken" not in repr(saga)


async def test_a_dead_letter_is_replayed_over_http(bakery: Bakery, client: Client) -> None:
    bakery.oven.fault = "broken"
    await bakery.order()
    [letter_id] = await bakery.letters()
    path = f"/api/dead-letters/{letter_id}"
    assert (await client.ask("POST", "/api/dead-letters/other/replay"))[0] == 404
    bakery.oven.fault = None

    assert (await client.ask("POST", f"{path}/replay"))[0] == 202
    await bakery.settle()

    _, listed, _ = await client.ask("GET", "/api/dead-letters")
    assert listed == {"items": [], "next_cursor": None}
    _, listed, _ = await client.ask("GET", "/api/dead-letters?status=replayed")
    assert [letter["dead_letter_id"] for letter in listed["items"]] == [letter_id]
    status, problem, _ = await client.ask("POST", f"{path}/replay", json={"reason": "again"})
    assert (status, problem["code"]) == (409, "already_resolved")


async def test_dead_letters_are_discarded_and_replayed_in_bulk(
    bakery: Bakery, client: Client
) -> None:
    bakery.oven.fault = "broken"
    for number in range(3):
        await bakery.order(f"saga-{number}")
    _, first, _ = await client.ask("GET", "/api/dead-letters?limit=1")
    letter_id = first["items"][0]["dead_letter_id"]
    assert first["next_cursor"] is not None

    assert (await client.ask("DELETE", f"/api/dead-letters/{letter_id}"))[0] == 422
    assert (await client.ask("DELETE", f"/api/dead-letters/{letter_id}?reason=old"))[0] == 204
    await bakery.settle()
    bakery.oven.fault = None
    assert (await client.ask("POST", "/api/dead-letters/replay", json={}))[0] == 422
    status, told, _ = await client.ask(
        "POST", "/api/dead-letters/replay", json={"participant": "kitchen", "reason": "repaired"}
    )
    assert (status, told) == (202, {"replays": 2})
    await bakery.settle()
    assert await bakery.letters() == []
    _, letter, _ = await client.ask("GET", f"/api/dead-letters/{letter_id}")
    assert letter["status"] == "discarded"
    assert {action["by"] for action in letter["actions"]} == {"eve"}
