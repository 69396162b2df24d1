"""The routes of sessions: sign in, refresh, sign out."""

from __future__ import annotations

from contextlib import suppress

from aiohttp import web

from contracts.api import customers as api
from participants.customer.attempts import SignInLimit
from participants.customer.domain import Customer, Session
from participants.customer.passwords import Passwords
from participants.customer.refresh_token import RefreshToken
from participants.customer.steps import (
    EndSession,
    OpenSession,
    RotateSession,
    customer,
    sessions,
)
from participants.service import ServiceContext, execute
from sagas import CommandRefused, Query, Runner
from sagas.web.body import json_response, read_json
from sagas.web.context import Principal, operation_id
from sagas.web.idempotency import ANY_ANSWER
from sagas.web.operations import ANYBODY, Operation
from sagas.web.problems import Problem, unauthenticated

__all__ = ["SessionRoutes", "find_by_email"]

SESSIONS = "/api/sessions"
TOKEN = {"refresh_token": "the one of your session"}


async def find_by_email(runner: Runner, email: str) -> Customer | None:
    """The customer who signs in with this address, however it is typed."""
    found = await runner.find(customer.saga, Query(where={"email": email.lower()}, limit=1))
    return found[0][1] if found else None


class SessionRoutes:
    """Who fails to sign in learns nothing about why; the same goes for refreshing."""

    def __init__(self, context: ServiceContext, passwords: Passwords, limit: SignInLimit) -> None:
        self._runner = context.runner
        self._tokens = context.tokens
        self._passwords = passwords
        self._limit = limit

    @Operation(
        "POST",
        SESSIONS,
        "Sign in",
        {200: api.Session},
        who=ANYBODY,
        body=api.SignIn,
        refuses={401: ("invalid_credentials",), 429: ("rate_limited",), 503: ("overloaded",)},
        examples={
            "the demo's customer": {
                "email": "customer@example.com",
                "password": "customer-demo-password",
            },
            "the demo's staff": {
                "email": "staff@example.com",
                "password": "staff-demo-password",
            },
        },
    )
    async def sign_in(self, request: web.Request) -> web.Response:
        sent = await read_json(request, api.SignIn)
        account = sent.email.lower()
        found = await self._limit.run(account, lambda: self._known(account, sent.password))
        if found is None:
            raise _invalid_credentials()
        token = RefreshToken.first()
        command = OpenSession(customer_id=found.customer_id, digest=token.digest)
        await execute(request, self._runner, sessions, token.session, command)
        return self._answer(found, token)

    @Operation(
        "POST",
        f"{SESSIONS}/refresh",
        "Go on with a new session: the refresh token is used up",
        {200: api.Session},
        who=ANYBODY,
        body=api.RefreshSession,
        once=True,
        forget=ANY_ANSWER,
        examples={"the next": TOKEN},
    )
    async def refresh(self, request: web.Request) -> web.Response:
        sent = await read_json(request, api.RefreshSession)
        token = RefreshToken.parse(sent.refresh_token)
        if token is None:
            raise _no_session()
        operation = operation_id(request)
        successor = token.successor(operation)
        command = RotateSession(
            presented=token.digest, successor=successor.digest, operation_id=operation
        )
        try:
            reply = await execute(request, self._runner, sessions, token.session, command)
        except CommandRefused:
            raise _no_session() from None
        session = reply.state
        # The customer is asked on every refresh: one who was deleted has no sessions, whether
        # their records have gone yet or not, and a changed role takes effect here.
        found = None
        if isinstance(session, Session):
            found = await self._runner.get(customer.saga, session.customer_id)
        if not isinstance(found, Customer) or found.deleted:
            raise _no_session()
        return self._answer(found, successor)

    @Operation(
        "DELETE",
        SESSIONS,
        "Sign out: the refresh token and all that came before it are good for nothing",
        {204: None},
        who=ANYBODY,
        body=api.SignOut,
        examples={"sign out": TOKEN},
    )
    async def sign_out(self, request: web.Request) -> web.Response:
        """Ends the whole family, also by a used token: its owner can always shut a thief out."""
        sent = await read_json(request, api.SignOut)
        token = RefreshToken.parse(sent.refresh_token)
        if token is not None:
            with suppress(CommandRefused):  # out already, or never in: it is as the caller wants
                await execute(request, self._runner, sessions, token.session, EndSession())
        return web.Response(status=204)

    async def _known(self, email: str, password: str) -> Customer | None:
        found = await find_by_email(self._runner, email)
        stored = None if found is None else found.password_hash
        return found if await self._passwords.verify(stored, password) else None

    def _answer(self, who: Customer, token: RefreshToken) -> web.Response:
        session = api.Session(
            access_token=self._tokens.issue(Principal(who.customer_id, who.role)),
            expires_in=self._tokens.ttl_s,
            refresh_token=str(token),
            customer_id=who.customer_id,
            role=who.role,
        )
        # RFC 6749, section 5.1: no cache on the way may keep a token.
        return json_response(session, headers={"Cache-Control": "no-store"})


def _invalid_credentials() -> Problem:
    detail = "This e-mail address and password do not belong together."
    # RFC 9110 asks for a challenge with every 401.
    return Problem(401, "invalid_credentials", detail, headers={"WWW-Authenticate": "Bearer"})


def _no_session() -> Problem:
    return unauthenticated("This refresh token is not good any more; sign in again.")
