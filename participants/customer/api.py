"""The customer service: its routes, put together."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from aiohttp import web

from participants.customer.accounts import CustomerRoutes
from participants.customer.attempts import SignInLimit
from participants.customer.passwords import Passwords
from participants.customer.seed import seed, seeded
from participants.customer.sessions import SessionRoutes
from participants.customer.steps import STALE_VERSION, customer
from participants.service import Service, ServiceContext
from sagas.web.body import without_query
from sagas.web.idempotency import ANY_ANSWER

__all__ = ["SERVICE", "routes", "routes_with"]


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_with(context, Passwords())


def routes_with(context: ServiceContext, passwords: Passwords) -> Iterable[web.AbstractRouteDef]:
    """The routes with a password hasher of the caller's choice."""
    customers = CustomerRoutes(context, passwords)
    limit = SignInLimit(context.clock, failures=context.settings.account_sign_ins_per_min)
    sessions = SessionRoutes(context, passwords, limit)
    # Their answers hold tokens and what names a person: these are not for keeping.
    secretly_once = partial(context.idempotent, public=True, forget=ANY_ANSWER)
    return [
        web.get("/api/customers", customers.list),
        web.post("/api/customers", secretly_once(customers.register)),
        web.get("/api/customers/{customer_id}", without_query(customers.get)),
        web.patch("/api/customers/{customer_id}", customers.change),
        web.delete("/api/customers/{customer_id}", without_query(customers.delete)),
        web.post("/api/sessions", sessions.sign_in),
        web.delete("/api/sessions", sessions.sign_out),
        web.post("/api/sessions/refresh", secretly_once(sessions.refresh)),
    ]


SERVICE = Service(
    name="customer",
    port=3,
    participant=customer,
    routes=routes,
    seed=seed,
    seeded=seeded,
    statuses={"not_found": 404, STALE_VERSION: 412},
)
