"""Who calls: tokens, roles, and what a stranger gets."""

from __future__ import annotations

import json

import jwt
import pytest
from aiohttp import web

from sagas.web.auth import Principal, Tokens, optional, require
from sagas.web.body import json_response
from sagas.web.problems import Problem
from tests.web.forging import forgeries, genuine

SECRET = "a secret of at least thirty-two characters"


def claims(clock, **changes):
    now = int(clock.now())
    good = {"iss": "sagas", "aud": "sagas", "sub": "c1", "role": "customer"}
    good |= {"iat": now, "nbf": now, "exp": now + 60}
    return {name: value for name, value in (good | changes).items() if value is not None}


@pytest.fixture
def sign(tokens):
    """As ours are: the key is named."""
    kid = jwt.get_unverified_header(tokens.issue(Principal("c1", "customer")))["kid"]
    return lambda claims: jwt.encode(claims, SECRET, "HS256", {"kid": kid})


@pytest.fixture
async def host(start):
    async def private(request):
        return json_response({"caller": require(request).subject})

    async def staff_only(request):
        return json_response({"caller": require(request, "staff").subject})

    async def public(request):
        caller = optional(request)
        return json_response({"caller": caller.subject if caller else None})

    return await start(
        web.get("/private", private), web.get("/staff", staff_only), web.get("/public", public)
    )


async def get(host, path, headers=None):
    response, body = await host.ask("GET", path, headers=headers or {})
    return response, json.loads(body)


async def test_a_caller_is_who_the_token_says(host, as_caller):
    _, body = await get(host, "/private", as_caller("c1"))
    assert body == {"caller": "c1"}
    _, body = await get(host, "/public", as_caller("c1"))
    assert body == {"caller": "c1"}


async def test_a_stranger_is_asked_for_a_token(host):
    response, body = await get(host, "/private")
    assert (response.status, body["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    _, body = await get(host, "/public")
    assert body == {"caller": None}


async def test_the_wrong_role_is_forbidden(host, as_caller):
    response, body = await get(host, "/staff", as_caller("c1"))
    assert (response.status, body["code"]) == (403, "forbidden")
    response, _ = await get(host, "/staff", as_caller("s1", "staff"))
    assert response.status == 200


@pytest.mark.parametrize(
    "sent", ["Bearer", "Bearer ", "Basic abc", "Bearer a b", "x", "", "Bearer é"]
)
async def test_a_malformed_header_is_refused_even_where_none_is_needed(host, sent):
    response, body = await get(host, "/public", {"Authorization": sent})
    assert (response.status, body["code"]) == (401, "unauthenticated")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "change",
    [
        *({name: None} for name in ("exp", "nbf", "iat", "iss", "aud", "sub", "role")),
        {"iss": "someone"},
        {"aud": "others"},
        {"sub": 7},
        {"role": ["staff"]},
        {"sub": ""},
        {"exp": "tomorrow"},
    ],
)
def test_a_token_lacks_nothing(tokens, clock, sign, change):
    good = sign(claims(clock))
    tokens.verify(good)
    if change == {"sub": 7}:
        header = jwt.get_unverified_header(good)
        token = jwt.PyJWS().encode(
            json.dumps(claims(clock, sub=7)).encode(), SECRET, headers=header
        )
    else:
        token = sign(claims(clock, **change))
    with pytest.raises(Problem) as refused:
        tokens.verify(token)
    assert refused.value.status == 401


def test_a_secret_is_replaced_without_anybody_signing_in_again(clock):
    """As docs/security.md says: known everywhere first, then used, then forgotten."""
    old, new = (
        "the old secret, of thirty-two characters",
        "the new secret, of thirty-two characters",
    )
    who = Principal("c1", "customer")
    before = Tokens(old, clock)
    told = Tokens(old, clock, others=[new])
    signing = Tokens(new, clock, others=[old])
    after = Tokens(new, clock)
    for issuing in (before, told, signing):
        for checking in (told, signing):
            assert checking.verify(issuing.issue(who)) == who
    assert after.verify(signing.issue(who)) == who
    for gone in (before.issue(who), told.issue(who)):
        with pytest.raises(Problem):
            after.verify(gone)
    with pytest.raises(Problem):
        before.verify(signing.issue(who))


@pytest.mark.parametrize("name", forgeries(SECRET, 0.0))
def test_a_forged_token_is_refused(tokens, clock, name):
    good = genuine(SECRET, clock.now())
    assert tokens.verify(good).subject == "c1"
    with pytest.raises(Problem) as refused:
        tokens.authenticate(f"Bearer {forgeries(SECRET, clock.now())[name]}")
    assert refused.value.status == 401


def test_there_are_enough_forgeries():
    assert len(set(forgeries(SECRET, 0.0).values())) >= 15


def test_a_token_ends_by_the_clock_even_when_it_was_seen_before(tokens, clock):
    token = tokens.issue(Principal("c1", "customer"))
    assert tokens.verify(token) == Principal("c1", "customer")
    clock.time += 3_599
    assert tokens.verify(token) == Principal("c1", "customer")
    clock.time += 1
    with pytest.raises(Problem, match="expired"):
        tokens.verify(token)


def test_a_token_does_not_begin_before_its_time(tokens, clock, sign):
    token = sign(claims(clock, nbf=int(clock.now()) + 60, exp=int(clock.now()) + 120))
    with pytest.raises(Problem):
        tokens.verify(token)
    clock.time += 60
    assert tokens.verify(token).subject == "c1"


def test_the_memory_of_tokens_is_bounded(clock, monkeypatch):
    monkeypatch.setattr("sagas.web.auth.MAX_CACHED", 3)
    tokens = Tokens(SECRET, clock)
    for number in range(10):
        tokens.verify(tokens.issue(Principal(f"c{number}", "customer")))
    assert len(tokens._seen) == 3
