"""``Idempotency-Key``: one request, however often it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from aiohttp import web

from sagas.errors import StoreUnavailable
from sagas.ports import Query
from sagas.testing.memory import MemoryDatabase
from sagas.web.app import make_app
from sagas.web.body import json_response, read_body
from sagas.web.context import operation_id
from sagas.web.idempotency import ANY_ANSWER, Idempotency
from sagas.web.problems import Problem
from sagas.web.state import WebSettings

COLLECTION = Idempotency.COLLECTION


class CountingStore:
    """A store in memory that counts its calls, and can be cut off."""

    def __init__(self, store):
        self._store = store
        self.calls = 0
        self.cut = False

    def __getattr__(self, name):
        method = getattr(self._store, name)

        async def call(*arguments):
            self.calls += 1
            if self.cut:
                raise StoreUnavailable("cut off")
            return await method(*arguments)

        return call


class Till:
    """A handler that makes one thing per operation, when it is let."""

    def __init__(self):
        self.runs = 0
        self.operations = []
        self.things = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.entered = asyncio.Event()
        self.trouble = []

    async def __call__(self, request):
        self.runs += 1
        self.operations.append(operation_id(request))
        self.entered.set()
        await self.gate.wait()
        if self.trouble and (trouble := self.trouble.pop(0)) is not None:
            raise trouble
        name = operation_id(request)
        self.things[name] = json.loads(await read_body(request) or b"null")
        return json_response({"thing": name}, 201, {"Location": f"/t/{name}", "X-Other": "1"})


@pytest.fixture
async def database():
    return MemoryDatabase()


@pytest.fixture
async def open_store(database):
    async def begin():
        store = CountingStore(database.store("x"))
        await store.open([COLLECTION])
        store.calls = 0
        return store

    return begin


@pytest.fixture
def till():
    return Till()


@pytest.fixture
async def store(open_store):
    return await open_store()


@pytest.fixture
async def host(start, till, store, clock, ids):
    idempotent = Idempotency(store, clock, ids)
    return await start(
        web.post("/t", idempotent(till)),
        web.post("/t/{id}/act", idempotent(till)),
        web.post("/open", idempotent(till, public=True)),
        web.post("/staff", idempotent(till, role="staff")),
    )


async def post(host, headers, body="{}", path="/t"):
    response, answer = await host.ask("POST", path, data=body, headers=headers)
    return response, json.loads(answer)


async def test_without_a_key_each_request_is_its_own(host, till, as_caller, store):
    for _ in range(2):
        response, _ = await post(host, as_caller("c1"))
        assert "Idempotent-Replayed" not in response.headers
    assert len(till.things) == 2
    assert store.calls == 0


async def test_the_same_key_answers_the_first_answer_again(host, till, as_caller):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    first, body = await post(host, headers)
    again, same = await post(host, headers)
    assert (first.status, again.status, body) == (201, 201, same)
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Content-Type"] == "application/json"
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]
    assert till.runs == 1


async def test_two_hundred_at_once_are_one_and_cost_two_commits(host, till, as_caller, store, ids):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    ids.goal = 201  # two hundred requests and one operation
    calls = [asyncio.ensure_future(post(host, headers)) for _ in range(200)]
    await ids.reached.wait()
    till.gate.set()
    answers = await asyncio.gather(*calls)
    assert {response.status for response, _ in answers} == {201}
    assert len({body["thing"] for _, body in answers}) == 1
    replayed = [r for r, _ in answers if r.headers.get("Idempotent-Replayed") == "true"]
    assert len(replayed) == 199
    assert till.runs == 1
    assert store.calls <= 4  # a claim and its answer; two more if the last one came after the end


async def test_another_body_or_path_under_the_key_is_refused(host, till, as_caller):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    await post(host, headers, '{"a": 1}')
    response, body = await post(host, headers, '{"a": 2}')
    assert (response.status, body["code"]) == (422, "idempotency_key_reused")
    await post(host, headers, path="/t/1/act")
    response, body = await post(host, headers, path="/t/2/act")
    assert (response.status, body["code"]) == (422, "idempotency_key_reused")
    assert till.runs == 2


async def test_another_body_is_refused_while_the_first_runs(host, till, as_caller):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    first = asyncio.ensure_future(post(host, headers, '{"a": 1}'))
    await till.entered.wait()
    response, _ = await post(host, headers, '{"a": 2}')
    assert response.status == 422
    till.gate.set()
    assert (await first)[0].status == 201


async def test_a_key_belongs_to_its_caller_and_route(host, till, as_caller):
    key = {"Idempotency-Key": "k"}
    for caller, path in (("c1", "/t"), ("c2", "/t"), ("c1", "/open")):
        response, _ = await post(host, as_caller(caller, **key), path=path)
        assert "Idempotent-Replayed" not in response.headers
    response, _ = await post(host, key, path="/open")
    assert "Idempotent-Replayed" not in response.headers
    assert till.runs == 4


async def test_a_refusal_is_not_kept(host, till, as_caller):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.trouble = [Problem(409, "sold_out", "Gone.")]
    response, body = await post(host, headers, '{"a": 1}')
    assert (response.status, body["code"]) == (409, "sold_out")
    response, _ = await post(host, headers, '{"a": 2}')
    assert response.status == 201
    assert "Idempotent-Replayed" not in response.headers


async def test_those_who_waited_for_a_refusal_get_it_too(host, till, as_caller):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.trouble = [Problem(409, "sold_out", "Gone.")]
    till.gate.clear()
    first = asyncio.ensure_future(post(host, headers))
    await till.entered.wait()
    others = [asyncio.ensure_future(post(host, headers)) for _ in range(5)]
    await asyncio.wait(others, timeout=0.05)  # They are on their way, or wait already.
    till.gate.set()
    assert (await first)[0].status == 409
    assert {(await answer)[0].status for answer in others} <= {409, 201}


async def test_after_a_fault_the_same_operation_goes_on(host, till, as_caller):
    """Nobody knows what a failed write did: the repeat must not begin something new."""
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.trouble = [StoreUnavailable("amid the commit"), None]
    response, _ = await post(host, headers)
    assert response.status == 503
    response, body = await post(host, headers, '{"a": 2}')
    assert (response.status, body["code"]) == (422, "idempotency_key_reused")
    response, _ = await post(host, headers)
    assert response.status == 201
    assert len(set(till.operations)) == 1


async def test_a_claim_whose_process_died_is_taken_over_with_its_operation(
    host, till, as_caller, start, open_store, clock, ids
):
    """The first process creates the thing, and dies before it keeps its answer."""
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    dying_store = await open_store()
    dying = Till()
    crashing = Idempotency(dying_store, clock, ids)

    async def die(request):
        answer = await dying(request)
        dying_store.cut = True
        return answer

    other = await start(web.post("/t", crashing(die)))
    response, body = await post(other, headers)
    assert response.status == 201
    # Its repeat elsewhere waits for the lease to end, then goes on with the same operation.
    response, again = await post(host, headers)
    assert (response.status, again) == (201, body)
    assert list(till.things) == list(dying.things)
    assert sum(clock.slept) >= 9


async def test_another_process_answers_what_the_first_kept(
    host, till, as_caller, start, open_store, clock, ids
):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    _, body = await post(host, headers)
    elsewhere = Till()
    other = await start(web.post("/t", Idempotency(await open_store(), clock, ids)(elsewhere)))
    response, same = await post(other, headers)
    assert (response.status, same, elsewhere.runs) == (201, body, 0)
    assert response.headers["Idempotent-Replayed"] == "true"


async def test_who_waits_too_long_is_told_that_the_first_goes_on(
    start, till, store, clock, ids, as_caller
):
    idempotent = Idempotency(store, clock, ids, wait_s=0.05, lease_s=60)
    here = await start(web.post("/t", idempotent(till)))
    there = await start(web.post("/t", Idempotency(store, clock, ids, wait_s=5, lease_s=60)(till)))
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    first = asyncio.ensure_future(post(here, headers))
    await till.entered.wait()
    for host in (here, there):
        response, body = await post(host, headers)
        assert (response.status, body["code"]) == (409, "idempotency_in_progress")
    till.gate.set()
    assert (await first)[0].status == 201
    response, _ = await post(there, headers)
    assert response.headers["Idempotent-Replayed"] == "true"
    assert till.runs == 1


async def test_a_client_that_goes_away_leaves_the_key_to_its_next_try(
    ids, tokens, start, till, store, clock, as_caller
):
    app = make_app(ids, tokens=tokens, settings=WebSettings(cancel_on_disconnect=True))
    host = await start(web.post("/t", Idempotency(store, clock, ids)(till)), app=app)
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    first = asyncio.ensure_future(post(host, headers))
    await till.entered.wait()
    first.cancel()
    till.gate.set()
    response, _ = await post(host, headers)
    assert response.status == 201
    assert len(till.things) == 1


async def test_an_answer_that_cannot_be_kept_is_still_given(host, till, as_caller, store, clock):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    first = asyncio.ensure_future(post(host, headers))
    await till.entered.wait()
    store.cut = True
    till.gate.set()
    response, body = await first
    assert response.status == 201
    store.cut = False
    clock.time += 11
    _, again = await post(host, headers)
    assert again == body
    assert len(till.things) == 1


async def test_a_key_is_forgotten_after_a_day(host, till, as_caller, clock, tokens):
    await post(host, as_caller("c1", **{"Idempotency-Key": "k"}))
    clock.time += 24 * 3_600 + 1
    response, _ = await post(host, as_caller("c1", **{"Idempotency-Key": "k"}), '{"new": 1}')
    assert response.status == 201
    assert till.runs == 2


# ------------------------------------------------------------------------- what is not for keeping


async def stored(store):
    return [record.body for record in await store.query(COLLECTION.name, Query())]


async def test_an_answer_that_is_not_for_keeping_is_made_again(
    start, till, store, clock, ids, as_caller
):
    idempotent = Idempotency(store, clock, ids)
    host = await start(web.post("/t", idempotent(till, forget=ANY_ANSWER)))
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    first, body = await post(host, headers, '{"password": "hush"}')
    again, same = await post(host, headers, '{"password": "hush"}')
    assert (first.status, again.status, same) == (201, 201, body)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (till.runs, len(set(till.operations))) == (2, 1)
    response, problem = await post(host, headers, '{"password": "other"}')
    assert (response.status, problem["code"]) == (422, "idempotency_key_reused")
    (claim,) = await stored(store)
    assert b"thing" not in claim
    assert b"hush" not in claim


async def test_a_repeat_that_is_refused_frees_no_key(start, till, store, clock, ids, as_caller):
    """What was done stays done, even if it cannot be told any more."""
    idempotent = Idempotency(store, clock, ids)
    host = await start(web.post("/t", idempotent(till, forget=ANY_ANSWER)))
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    await post(host, headers)
    till.trouble = [Problem(401, "unauthenticated", "Used up.")]
    response, _ = await post(host, headers)
    assert response.status == 401
    assert "Idempotent-Replayed" not in response.headers
    response, _ = await post(host, headers)
    assert (response.status, response.headers["Idempotent-Replayed"]) == (201, "true")
    assert len(set(till.operations)) == 1


async def test_those_who_ask_together_share_an_answer_that_is_not_kept(
    start, till, store, clock, ids, as_caller
):
    idempotent = Idempotency(store, clock, ids)
    host = await start(web.post("/t", idempotent(till, forget=ANY_ANSWER)))
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    till.gate.clear()
    ids.goal = 21  # twenty requests and one operation
    calls = [asyncio.ensure_future(post(host, headers)) for _ in range(20)]
    await ids.reached.wait()
    till.gate.set()
    answers = await asyncio.gather(*calls)
    assert len({body["thing"] for _, body in answers}) == 1
    assert sum("Idempotent-Replayed" in response.headers for response, _ in answers) == 19


async def test_a_stored_fingerprint_tells_nothing_without_the_secret(
    start, till, clock, ids, as_caller
):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    claims = []
    for secret in ("one", "another"):
        store = MemoryDatabase().store("x")
        await store.open([COLLECTION])
        host = await start(web.post("/t", Idempotency(store, clock, ids, secret=secret)(till)))
        await post(host, headers, '{"password": "hush"}')
        claims += await stored(store)
    fingerprints = {json.loads(claim.partition(b"\n")[0])[0] for claim in claims}
    plain = hashlib.sha256(b'/t\n{"password": "hush"}').hexdigest()
    assert len(fingerprints | {plain}) == 3


@pytest.mark.parametrize(
    ("others", "status"), [(["the old one"], 201), ([], 422)], ids=["known", "forgotten"]
)
async def test_a_key_is_known_again_while_the_secret_is_replaced(
    start, till, clock, ids, as_caller, others, status
):
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    store = MemoryDatabase().store("x")
    await store.open([COLLECTION])
    before = Idempotency(store, clock, ids, secret="the old one")
    after = Idempotency(store, clock, ids, secret="the new one", others=others)
    first, body = await post(await start(web.post("/t", before(till))), headers)
    again, same = await post(await start(web.post("/t", after(till))), headers)
    assert (first.status, again.status) == (201, status)
    assert (same == body) == (status == 201)
    assert till.runs == 1


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "two words", "ü"])
async def test_a_key_is_visible_ascii_of_sane_length(host, till, as_caller, key):
    response, body = await post(host, as_caller("c1", **{"Idempotency-Key": key}))
    assert (response.status, body["code"]) == (422, "validation_failed")
    assert till.runs == 0


async def test_strangers_and_wrong_roles_store_nothing(host, as_caller, store):
    response, _ = await post(host, {"Idempotency-Key": "k"})
    assert response.status == 401
    response, _ = await post(host, as_caller("c1", **{"Idempotency-Key": "k"}), path="/staff")
    assert response.status == 403
    assert store.calls == 0
