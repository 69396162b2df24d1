"""Stories of customers: registering, signing in, being forgotten."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson
import pytest

from contracts.api import customers as api
from contracts.events.customer import CustomerDeleted
from participants.customer.api import SERVICE, routes_with
from participants.customer.domain import SESSION_S, Customer
from participants.customer.passwords import Passwords
from participants.customer.refresh_token import RefreshToken
from participants.customer.seed import seed_with
from participants.customer.steps import (
    ChangeCustomer,
    DeleteCustomer,
    OpenSession,
    customer,
    sessions,
)
from participants.demo import DEMO_ACCOUNTS
from sagas import CommandRefused, Permanent, Query
from sagas.ports import Write
from sagas.testing.memory import MemoryDatabase
from sagas.web.auth import Principal
from sagas.web.health import Degraded
from sagas.web.idempotency import Idempotency
from sagas.web.problems import Problem
from tests.participants.conftest import Answer, Serve, ServedService

STAFF = Principal("the-staff", "staff")
PASSWORD = "correct horse"


def cheap() -> Passwords:
    """The least that Argon2 allows: what it costs is not what these stories are about."""
    return Passwords(memory_kib=8, passes=1)


@pytest.fixture
async def shop(serve_service: Serve) -> ServedService:
    return await serve_service(SERVICE, routes=lambda context: routes_with(context, cheap()))


def ada(**changes: Any) -> dict[str, Any]:
    return {"name": "Ada", "email": "ada@example.com", "password": PASSWORD, **changes}


async def register(shop: ServedService, **changes: Any) -> str:
    answer = await shop("POST", "/api/customers", ada(**changes))
    assert answer.status == 201, answer.raw
    return str(answer.body["customer_id"])


async def sign_in(
    shop: ServedService, email: str = "ada@example.com", password: str = PASSWORD
) -> Answer:
    return await shop("POST", "/api/sessions", {"email": email, "password": password})


async def refresh(shop: ServedService, token: str, **headers: str) -> Answer:
    return await shop("POST", "/api/sessions/refresh", {"refresh_token": token}, **headers)


async def no_session_left(shop: ServedService, customer_id: str) -> None:
    """Wait until every session of the customer has been ended."""

    async def none_left() -> bool:
        query = Query(where={"customer_id": customer_id})
        return not await shop.runner.find(sessions, query)

    await shop.until(none_left)


def as_customer(customer_id: str) -> Principal:
    return Principal(customer_id, "customer")


# ---------------------------------------------------------------------------------- registering


async def test_somebody_registers_and_reads_who_they_are(shop: ServedService) -> None:
    address = {"line1": "1 Main St", "city": "Ulm", "postal_code": "89073", "country": "DE"}
    body = ada(email="Ada@Example.com", phone="+49 731 1", address=address)
    made = await shop("POST", "/api/customers", body)
    id_ = made.body["customer_id"]
    assert made.status == 201
    assert made.headers["Location"] == f"/api/customers/{id_}"
    assert made.body == {
        "customer_id": id_,
        "name": "Ada",
        "email": "ada@example.com",
        "phone": "+49 731 1",
        "address": address,
        "role": "customer",
    }
    access = (await sign_in(shop, "ADA@example.com")).body["access_token"]
    for path in ("/api/customers/me", f"/api/customers/{id_}"):
        read = await shop("GET", path, caller=access)
        assert (read.status, read.body) == (200, made.body)
        assert read.headers["ETag"] == made.headers["ETag"] == '"1"'


async def test_an_email_belongs_to_one_customer(shop: ServedService) -> None:
    answers = await asyncio.gather(
        *(shop("POST", "/api/customers", ada(email=text)) for text in ("A@x.org", "a@x.org"))
    )
    assert sorted(answer.status for answer in answers) == [201, 409]
    assert [each.code for each in answers if each.status == 409] == ["email_taken"]


async def test_a_taken_email_costs_no_hash(serve_service: Serve) -> None:
    """Else whoever knows one address could keep every core busy with it."""

    class Counted(Passwords):
        hashed = 0

        async def hash(self, password: str) -> str:
            self.hashed += 1
            return await super().hash(password)

    passwords = Counted(memory_kib=8, passes=1)
    shop = await serve_service(SERVICE, routes=lambda context: routes_with(context, passwords))
    id_ = await register(shop)
    for _ in range(3):
        taken = await shop("POST", "/api/customers", ada(email="ADA@example.com"))
        assert (taken.status, taken.code) == (409, "email_taken")
    assert passwords.hashed == 1
    await shop("DELETE", "/api/customers/me", caller=as_customer(id_))
    await register(shop)
    assert passwords.hashed == 2


async def test_a_repeat_with_its_key_registers_once(shop: ServedService) -> None:
    first = await shop("POST", "/api/customers", ada(), Idempotency_Key="k")
    second = await shop("POST", "/api/customers", ada(), Idempotency_Key="k")
    assert (second.status, second.body) == (201, first.body)
    assert second.headers["Idempotent-Replayed"] == "true"


async def test_strangers_who_use_one_key_learn_nothing_of_each_other(shop: ServedService) -> None:
    """Nobody knows them apart: only who sends all of the other's body, password included, hears
    what came of it."""
    address = {"line1": "1 Main St", "city": "Ulm", "postal_code": "89073", "country": "DE"}
    body = ada(phone="+49 731 1", address=address)
    first = await shop("POST", "/api/customers", body, Idempotency_Key="1")
    secrets = ("Ada", "ada@", "731", "Main", first.body["customer_id"])
    for change in ({"password": "battery staple"}, {"email": "eve@example.com"}, {"phone": None}):
        other = await shop("POST", "/api/customers", {**body, **change}, Idempotency_Key="1")
        assert (other.status, other.code) == (422, "idempotency_key_reused")
        assert [each for each in secrets if each in other.raw.decode()] == []
    (kept,) = await shop.store.query(Idempotency.COLLECTION.name, Query())
    assert b"Ada" not in kept.body
    assert b"Ulm" not in kept.body


async def test_nobody_registers_as_staff_or_with_a_short_password(shop: ServedService) -> None:
    for change, pointer in (
        ({"role": "staff"}, "/role"),
        ({"password": "too short"}, "/password"),
        ({"name": "A\nB"}, "/name"),
        ({"email": "ada"}, "/email"),
    ):
        answer = await shop("POST", "/api/customers", ada(**change))
        assert (answer.status, answer.code) == (422, "validation_failed")
        assert [error["pointer"] for error in answer.body["errors"]] == [pointer]


async def test_the_store_keeps_no_password(shop: ServedService) -> None:
    id_ = await register(shop)
    state = await shop.runner.get(customer.saga, id_)
    assert isinstance(state, Customer)
    assert state.password_hash.startswith("$argon2id$")
    assert PASSWORD not in state.model_dump_json()


async def test_a_fault_that_has_hold_of_secrets_logs_none(
    shop: ServedService, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that does not fit its model any more: the error that says so has all of it."""
    caplog.set_level(logging.DEBUG)
    id_ = "0190-misfit"
    state = {"customer_id": id_, "name": "Ada", "email": "ada@example.com", "role": "queen"}
    state |= {"password_hash": "$argon2id$whispered", "phone": 7}
    body = orjson.dumps({"state": state})
    await shop.store.commit([Write(customer.saga.name, id_, 0, body)])
    answer = await shop("GET", "/api/customers/me", caller=as_customer(id_))
    assert (answer.status, answer.code) == (500, "internal_error")
    change = ChangeCustomer(content=api.ChangeCustomer(name="Eve"), expected=None)
    with pytest.raises(Permanent) as kept:  # what becomes the cause of a dead letter
        await shop.runner.execute(customer.saga, id_, change)
    format_ = logging.Formatter().format
    logged = "\n".join(format_(record) for record in caplog.records)
    logged += answer.raw.decode() + str(kept.value)
    assert "ValidationError" in logged
    secrets = ("argon2id", "whispered", "Ada", "ada@example.com", "queen")
    assert [secret for secret in secrets if secret in logged] == []


# ------------------------------------------------------------------------------ whose data it is


async def test_a_stranger_sees_nothing_and_staff_everything(shop: ServedService) -> None:
    id_ = await register(shop)
    path = f"/api/customers/{id_}"
    for method, body in (("GET", None), ("PATCH", {"name": "Eve"}), ("DELETE", None)):
        anonymous = await shop(method, path, body)
        assert (anonymous.status, anonymous.code) == (401, "unauthenticated")
        stranger = await shop(method, path, body, caller=as_customer("eve"))
        assert (stranger.status, stranger.code) == (404, "not_found")
    assert (await shop("GET", path, caller=STAFF)).body["name"] == "Ada"
    assert (await shop("GET", "/api/customers/nobody", caller=STAFF)).status == 404


async def test_staff_list_customers_newest_first(shop: ServedService) -> None:
    ids = [await register(shop, email=f"{n}@example.com") for n in range(3)]
    first = (await shop("GET", "/api/customers?limit=2", caller=STAFF)).body
    cursor = first["next_cursor"]
    second = (await shop("GET", f"/api/customers?cursor={cursor}", caller=STAFF)).body
    seen = [item["customer_id"] for item in (*first["items"], *second["items"])]
    assert (seen, second["next_cursor"]) == (sorted(ids, reverse=True), None)
    assert (await shop("GET", "/api/customers", caller=as_customer(ids[0]))).status == 403
    assert (await shop("GET", "/api/customers")).status == 401


async def test_a_change_touches_what_was_sent(shop: ServedService) -> None:
    id_ = await register(shop, phone="1")
    me = as_customer(id_)
    changed = await shop("PATCH", "/api/customers/me", {"name": "Ada L.", "phone": None}, caller=me)
    assert (changed.status, changed.headers["ETag"]) == (200, '"2"')
    assert (changed.body["name"], changed.body["phone"]) == ("Ada L.", None)
    assert changed.body["email"] == "ada@example.com"
    nothing = await shop("PATCH", "/api/customers/me", {}, caller=me)
    assert (nothing.status, nothing.headers["ETag"]) == (200, '"2"')
    assert (await shop("PATCH", "/api/customers/me", {"name": None}, caller=me)).status == 422
    same = await shop("GET", "/api/customers/me", caller=me, If_None_Match='"2"')
    assert (same.status, same.raw) == (304, b"")


async def test_of_changes_with_one_tag_exactly_one_wins(
    shop: ServedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = as_customer(await register(shop))
    shop.hold_until_all_have_read(monkeypatch, 2)
    path = "/api/customers/me"
    answers = await asyncio.gather(
        shop("PATCH", path, {"name": "Ada L."}, caller=me, If_Match='"1"'),
        shop("PATCH", path, {"phone": "1"}, caller=me, If_Match='"1"'),
    )
    assert sorted(answer.status for answer in answers) == [200, 412]
    assert {answer.code for answer in answers if answer.status == 412} == {"stale_version"}


async def test_a_deletion_that_read_too_early_is_refused(shop: ServedService) -> None:
    id_ = await register(shop)
    await shop("PATCH", "/api/customers/me", {"phone": "1"}, caller=as_customer(id_))
    with pytest.raises(CommandRefused, match="stale_version"):
        await shop.runner.execute(customer.saga, id_, DeleteCustomer(expected=frozenset({1})))


@pytest.mark.parametrize("tag", ["*", '"1", ' + ", ".join(f'"{n}"' for n in range(2, 400))])
async def test_who_takes_any_version_never_loses_to_a_crowd(shop: ServedService, tag: str) -> None:
    """256 at once: as many as the gateway lets through. None of them may look like a fault."""
    me = as_customer(await register(shop))
    changes = (
        shop("PATCH", "/api/customers/me", {"phone": str(number)}, caller=me, If_Match=tag)
        for number in range(256)
    )
    answers = await asyncio.gather(*changes)
    assert {answer.status for answer in answers} == {200}
    assert len({answer.headers["ETag"] for answer in answers}) == 256
    assert (await shop("GET", "/api/customers/me", caller=me)).headers["ETag"] == '"257"'


async def test_who_lost_is_told_the_tag_that_holds(shop: ServedService) -> None:
    me = as_customer(await register(shop))
    changes = [
        shop("PATCH", "/api/customers/me", {"phone": str(number)}, caller=me, If_Match='"1"')
        for number in range(64)
    ]
    answers = await asyncio.gather(*changes)
    assert sorted(answer.status for answer in answers) == [200] + [412] * 63
    lost = [answer for answer in answers if answer.status == 412]
    assert {(each.code, each.headers["ETag"]) for each in lost} == {("stale_version", '"2"')}


async def test_changes_without_a_tag_all_apply(
    shop: ServedService, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = as_customer(await register(shop))
    shop.hold_until_all_have_read(monkeypatch, 2)
    answers = await asyncio.gather(
        shop("PATCH", "/api/customers/me", {"name": "Ada L."}, caller=me),
        shop("PATCH", "/api/customers/me", {"phone": "1"}, caller=me),
    )
    assert {answer.status for answer in answers} == {200}
    now = (await shop("GET", "/api/customers/me", caller=me)).body
    assert (now["name"], now["phone"]) == ("Ada L.", "1")


async def test_a_taken_email_cannot_be_moved_to(shop: ServedService) -> None:
    await register(shop, email="bob@example.com")
    me = as_customer(await register(shop))
    answer = await shop("PATCH", "/api/customers/me", {"email": "BOB@example.com"}, caller=me)
    assert (answer.status, answer.code) == (409, "email_taken")
    moved = await shop("PATCH", "/api/customers/me", {"email": "ada@example.org"}, caller=me)
    assert moved.body["email"] == "ada@example.org"
    assert (await sign_in(shop)).status == 401
    assert (await sign_in(shop, "ada@example.org")).status == 200


# ------------------------------------------------------------------------------ being forgotten


async def test_a_deleted_customer_is_forgotten_but_not_their_id(shop: ServedService) -> None:
    id_ = await register(shop, phone="1")
    me = as_customer(id_)
    tokens = [(await sign_in(shop)).body["refresh_token"] for _ in range(3)]
    stale = await shop("DELETE", "/api/customers/me", caller=me, If_Match='"5"')
    assert (stale.status, stale.code) == (412, "stale_version")
    for _ in range(2):  # a repeat changes nothing
        gone = await shop("DELETE", "/api/customers/me", caller=me)
        assert (gone.status, gone.raw) == (204, b"")
    assert (await shop("GET", "/api/customers/me", caller=me)).status == 404
    assert (await shop("PATCH", "/api/customers/me", {"name": "x"}, caller=me)).status == 404
    assert (await sign_in(shop)).code == "invalid_credentials"
    for token in tokens:
        assert (await refresh(shop, token)).code == "unauthenticated"
    anonymous = (await shop("GET", f"/api/customers/{id_}", caller=STAFF)).body
    assert anonymous == {
        "customer_id": id_,
        "name": "Deleted customer",
        "email": f"{id_}@deleted.invalid",
        "phone": None,
        "address": None,
        "role": "customer",
    }
    assert (await shop("GET", "/api/customers", caller=STAFF)).body["items"] == []
    assert await register(shop) != id_  # the address is free again


async def test_a_deletion_is_announced_once_and_ends_every_session(shop: ServedService) -> None:
    id_ = await register(shop)
    for _ in range(3):
        await sign_in(shop)
    await shop("DELETE", f"/api/customers/{id_}", caller=STAFF)
    await shop("DELETE", f"/api/customers/{id_}", caller=STAFF)
    await no_session_left(shop, id_)
    assert await shop.announced(CustomerDeleted, 1) == [CustomerDeleted(customer_id=id_)]


async def test_nobody_can_stand_in_the_way_of_being_forgotten(shop: ServedService) -> None:
    id_ = await register(shop)
    await register(shop, email=f"{id_}@deleted.invalid")
    gone = await shop("DELETE", "/api/customers/me", caller=as_customer(id_))
    assert gone.status == 204


async def test_a_session_that_opened_amid_the_deletion_is_dead(shop: ServedService) -> None:
    id_ = await register(shop)
    await sign_in(shop)
    await shop("DELETE", "/api/customers/me", caller=as_customer(id_))
    await no_session_left(shop, id_)
    token = RefreshToken.first()
    opened = OpenSession(customer_id=id_, digest=token.digest)
    await shop.runner.execute(sessions, token.session, opened)
    assert (await refresh(shop, str(token))).status == 401


# ----------------------------------------------------------------------------------- signing in


async def test_a_signed_in_customer_gets_both_tokens(shop: ServedService) -> None:
    id_ = await register(shop)
    answer = await sign_in(shop)
    assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
    body = answer.body
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 3_600)
    assert (body["customer_id"], body["role"]) == (id_, "customer")
    assert shop.tokens.verify(body["access_token"]) == as_customer(id_)
    shop.clock.skew_s += 3_601
    late = await shop("GET", "/api/customers/me", caller=body["access_token"])
    assert (late.status, late.code) == (401, "unauthenticated")


async def test_a_wrong_password_and_an_unknown_account_look_the_same(shop: ServedService) -> None:
    await register(shop)
    wrong = await sign_in(shop, password="battery staple")
    unknown = await sign_in(shop, "nobody@example.com")
    for answer in (wrong, unknown):
        assert (answer.status, answer.code) == (401, "invalid_credentials")
    assert wrong.body["detail"] == unknown.body["detail"]


async def test_an_unknown_account_costs_a_verification_too(monkeypatch: pytest.MonkeyPatch) -> None:
    passwords = cheap()
    checked: list[str] = []

    def refuse(self: Passwords, hash: str, password: str) -> bool:
        checked.append(hash)
        return False

    monkeypatch.setattr(Passwords, "_matches", refuse)
    assert not await passwords.verify(None, PASSWORD)
    assert not await passwords.verify(await passwords.hash(PASSWORD), PASSWORD)
    assert len(checked) == 2
    assert all(hash.startswith("$argon2id$") for hash in checked)


async def test_passwords_cost_what_owasp_asks() -> None:
    assert "$m=19456,t=2,p=1$" in await Passwords().hash(PASSWORD)


async def test_a_password_is_the_same_however_it_is_composed() -> None:
    passwords = cheap()
    assert await passwords.verify(await passwords.hash("pass-caf\u00e9"), "pass-cafe\u0301")


async def test_too_many_passwords_at_once_are_turned_away() -> None:
    passwords = cheap()
    tries = [passwords.hash(PASSWORD) for _ in range(300)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    refused = [each for each in results if isinstance(each, Problem)]
    assert len(refused) == 300 - 256
    assert {(each.status, each.code) for each in refused} == {(503, "overloaded")}


async def test_five_failures_a_minute_lock_the_account_and_no_other(shop: ServedService) -> None:
    await register(shop)
    await register(shop, email="bob@example.com")
    for _ in range(5):
        assert (await sign_in(shop, password="battery staple")).status == 401
        shop.clock.skew_s += 1
    limited = await sign_in(shop, "ADA@example.com")  # the right password, too late
    assert (limited.status, limited.code) == (429, "rate_limited")
    assert 0 < int(limited.headers["Retry-After"]) <= 60
    assert (await sign_in(shop, "bob@example.com")).status == 200
    shop.clock.skew_s += int(limited.headers["Retry-After"])
    assert (await sign_in(shop)).status == 200


async def test_a_burst_of_guesses_gets_no_more_tries(shop: ServedService) -> None:
    await register(shop)
    burst = await asyncio.gather(*(sign_in(shop, password=f"a guess {n}") for n in range(20)))
    assert sorted(answer.status for answer in burst) == [401] * 5 + [429] * 15
    unknown = await asyncio.gather(*(sign_in(shop, "nobody@example.com") for _ in range(7)))
    assert sorted(answer.status for answer in unknown) == [401] * 5 + [429] * 2


async def test_many_good_sign_ins_at_once_are_no_failures(shop: ServedService) -> None:
    await register(shop)
    answers = await asyncio.gather(*(sign_in(shop) for _ in range(10)))
    assert {answer.status for answer in answers} == {200}


# ----------------------------------------------------------------------------- refresh, sign out


async def test_a_refresh_rotates_the_token(shop: ServedService) -> None:
    id_ = await register(shop)
    first = (await sign_in(shop)).body
    second = await refresh(shop, first["refresh_token"])
    assert second.status == 200
    assert second.body.keys() == first.keys()
    assert second.body["refresh_token"] != first["refresh_token"]
    assert shop.tokens.verify(second.body["access_token"]) == as_customer(id_)
    assert (await refresh(shop, second.body["refresh_token"])).status == 200


async def test_a_token_used_twice_ends_the_whole_family(shop: ServedService) -> None:
    await register(shop)
    other = (await sign_in(shop)).body["refresh_token"]
    stolen = (await sign_in(shop)).body["refresh_token"]
    fresh = (await refresh(shop, stolen)).body["refresh_token"]
    for token in (stolen, fresh):
        answer = await refresh(shop, token)
        assert (answer.status, answer.code) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await refresh(shop, other)).status == 200  # another sign-in, another family


async def test_a_refresh_is_repeated_safely_under_its_key(shop: ServedService) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]
    answers = await asyncio.gather(*(refresh(shop, token, Idempotency_Key="k") for _ in range(3)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body["refresh_token"] for answer in answers}) == 1
    assert (await refresh(shop, answers[0].body["refresh_token"])).status == 200


async def test_a_refresh_whose_answer_was_lost_in_a_crash_is_repeated_safely(
    shop: ServedService, serve_service: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]

    def dies(*args: object) -> str:
        raise RuntimeError("the process dies between the write and the answer")

    with monkeypatch.context() as crash:
        crash.setattr(type(shop.tokens), "issue", dies)
        assert (await refresh(shop, token, Idempotency_Key="k")).status == 500
    repeated = await refresh(shop, token, Idempotency_Key="k")
    assert repeated.status == 200
    assert (await refresh(shop, repeated.body["refresh_token"])).status == 200


async def test_refresh_tokens_expire_after_thirty_days(shop: ServedService) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]
    shop.clock.skew_s += SESSION_S - 60
    token = (await refresh(shop, token)).body["refresh_token"]  # good for another thirty
    shop.clock.skew_s += SESSION_S - 60
    token = (await refresh(shop, token)).body["refresh_token"]
    shop.clock.skew_s += SESSION_S + 1
    assert (await refresh(shop, token)).status == 401


@pytest.mark.parametrize("token", ["x", "a.b", "é" * 50, f"no-family.{'A' * 43}", "."])
async def test_a_token_that_never_was_is_401_and_leaves_no_trace(
    shop: ServedService, token: str
) -> None:
    answer = await refresh(shop, token)
    assert (answer.status, answer.code) == (401, "unauthenticated")
    out = await shop("DELETE", "/api/sessions", {"refresh_token": token})
    assert out.status == 204
    assert await shop.store.query("sessions", Query()) == []


async def test_a_signed_out_token_is_dead(shop: ServedService) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]
    for _ in range(2):
        out = await shop("DELETE", "/api/sessions", {"refresh_token": token})
        assert (out.status, out.raw) == (204, b"")
    assert (await refresh(shop, token)).status == 401


async def test_the_store_keeps_no_refresh_token(shop: ServedService) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]
    (record,) = await shop.store.query("sessions", Query())
    for part in token.split("."):
        assert part not in record.key
        assert part.encode() not in record.body


async def test_who_reads_the_store_can_end_no_session(shop: ServedService) -> None:
    await register(shop)
    token = (await sign_in(shop)).body["refresh_token"]
    (record,) = await shop.store.query("sessions", Query())
    for family in (record.key, token.partition(".")[0][:-1] + "x"):
        made_up = f"{family}.{'A' * 43}"
        out = await shop("DELETE", "/api/sessions", {"refresh_token": made_up})
        assert out.status == 204
        assert (await refresh(shop, made_up)).status == 401
    assert (await refresh(shop, token)).status == 200


async def test_a_used_token_signs_its_thief_out(shop: ServedService) -> None:
    await register(shop)
    mine = (await sign_in(shop)).body["refresh_token"]
    theirs = (await refresh(shop, mine)).body["refresh_token"]
    theirs = (await refresh(shop, theirs)).body["refresh_token"]
    assert (await shop("DELETE", "/api/sessions", {"refresh_token": mine})).status == 204
    assert (await refresh(shop, theirs)).status == 401


# ----------------------------------------------------------------------------------- seed, logs


async def test_the_demo_logins_are_seeded_once_however_often(serve_service: Serve) -> None:
    database = MemoryDatabase()
    shop = await serve_service(SERVICE, seed="demo", database=database)
    with pytest.raises(Degraded):
        await SERVICE.seeded(shop.context)
    await asyncio.gather(SERVICE.seed(shop.context), SERVICE.seed(shop.context))
    await SERVICE.seeded(shop.context)
    staff = (await sign_in(shop, "staff@example.com", "staff-demo-password")).body
    somebody = (await sign_in(shop, "customer@example.com", "customer-demo-password")).body
    assert (staff["role"], somebody["role"]) == ("staff", "customer")
    listed = await shop("GET", "/api/customers", caller=staff["access_token"])
    assert len(listed.body["items"]) == 2
    await shop("DELETE", "/api/customers/me", caller=somebody["access_token"])
    await SERVICE.seed(shop.context)
    await SERVICE.seeded(shop.context)
    assert len((await shop("GET", "/api/customers", caller=STAFF)).body["items"]) == 1


async def test_a_second_start_hashes_no_password(serve_service: Serve) -> None:
    shop = await serve_service(SERVICE, seed="demo")
    await seed_with(shop.context, cheap())
    first = await shop.runner.get(customer.saga, DEMO_ACCOUNTS[0].customer_id)

    class Refusing(Passwords):
        async def hash(self, password: str) -> str:
            raise AssertionError("not needed")

    await seed_with(shop.context, Refusing())
    assert await shop.runner.get(customer.saga, DEMO_ACCOUNTS[0].customer_id) == first


async def test_a_demo_address_that_somebody_has_is_left_to_them(serve_service: Serve) -> None:
    shop = await serve_service(
        SERVICE, seed="demo", routes=lambda context: routes_with(context, cheap())
    )
    await register(shop, email="customer@example.com")
    await seed_with(shop.context, cheap())
    await SERVICE.seeded(shop.context)


async def test_logs_name_nobody(shop: ServedService, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    id_ = await register(shop, phone="+49 731 1")
    await shop("POST", "/api/customers", ada())
    await sign_in(shop, password="battery staple")
    token = (await sign_in(shop)).body["refresh_token"]
    await refresh(shop, token)
    await refresh(shop, token)
    await shop("DELETE", f"/api/customers/{id_}", caller=STAFF)
    for secret in ("ada@", PASSWORD, "+49 731", token, "$argon2"):
        assert secret not in caplog.text
