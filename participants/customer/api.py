"""The customer service: its routes, put together."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from participants.customer.accounts import CustomerRoutes
from participants.customer.attempts import SignInLimit
from participants.customer.passwords import Passwords
from participants.customer.seed import seed, seeded
from participants.customer.sessions import SessionRoutes
from participants.customer.steps import customer
from participants.editing import STALE
from participants.service import Service, ServiceContext
from sagas.web.operations import routes_of

__all__ = ["SERVICE", "routes", "routes_with"]


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_with(context, Passwords())


def routes_with(context: ServiceContext, passwords: Passwords) -> Iterable[web.AbstractRouteDef]:
    """The routes with a password hasher of the caller's choice."""
    customers = CustomerRoutes(context, passwords)
    limit = SignInLimit(context.clock, failures=context.settings.account_sign_ins_per_min)
    sessions = SessionRoutes(context, passwords, limit)
    return [
        *routes_of(customers, once=context.idempotent),
        *routes_of(sessions, once=context.idempotent),
    ]


SERVICE = Service(
    name="customer",
    port=3,
    participant=customer,
    routes=routes,
    seed=seed,
    seeded=seeded,
    statuses={"not_found": 404, STALE.code: 412},
)
