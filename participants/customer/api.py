"""The customer service: its routes, put together."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from participants.customer.accounts import CustomerRoutes
from participants.customer.attempts import SignInLimit
from participants.customer.passwords import Passwords
from participants.customer.seed import seed, seeded
from participants.customer.sessions import SessionRoutes
from participants.customer.steps import STALE_VERSION, customer
from participants.service import Service, ServiceContext

__all__ = ["SERVICE", "routes", "routes_with"]


def routes(context: ServiceContext) -> Iterable[web.AbstractRouteDef]:
    return routes_with(context, Passwords())


def routes_with(context: ServiceContext, passwords: Passwords) -> Iterable[web.AbstractRouteDef]:
    """The routes with a password hasher of the caller's choice."""
    customers = CustomerRoutes(context, passwords)
    sessions = SessionRoutes(context, passwords, SignInLimit(context.clock))
    return [
        web.get("/api/customers", customers.list),
        web.post("/api/customers", context.idempotent(customers.register, public=True)),
        web.get("/api/customers/{customer_id}", customers.get),
        web.patch("/api/customers/{customer_id}", customers.change),
        web.delete("/api/customers/{customer_id}", customers.delete),
        web.post("/api/sessions", sessions.sign_in),
        web.delete("/api/sessions", sessions.sign_out),
        web.post("/api/sessions/refresh", context.idempotent(sessions.refresh, public=True)),
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
