"""What all services share: how one is described, and the context its routes work in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from pydantic import BaseModel

from contracts.api.base import ListQuery
from participants.settings import ShopSettings
from sagas import Kind, Participant, Reply, Runner
from sagas.ports import Clock, Ids, Scalar
from sagas.ports import Query as StoreQuery
from sagas.web.auth import Tokens, require
from sagas.web.body import json_response
from sagas.web.context import Principal, context_of
from sagas.web.idempotency import Idempotency
from sagas.web.operations import CALLER, Who
from sagas.web.pages import after_record, decode_cursor, page
from sagas.web.problems import not_found

__all__ = [
    "STAFF",
    "STAFF_ONLY",
    "Service",
    "ServiceContext",
    "execute",
    "is_staff",
    "list_page",
    "no_resources",
    "owned",
    "owned_page",
]

STAFF = "staff"
#: Only staff may call.
STAFF_ONLY = Who("bearer", STAFF, CALLER.shown)


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What the routes and the seed of one service work with."""

    runner: Runner
    settings: ShopSettings
    clock: Clock
    ids: Ids
    tokens: Tokens
    idempotent: Idempotency


async def _nothing(context: ServiceContext) -> None:
    """For a service without a seed, or without upkeep."""


def no_resources(runner: Runner, settings: ShopSettings) -> Mapping[type, object]:
    """For a participant whose reactions need nothing from outside."""
    return {}


@dataclass(frozen=True, slots=True)
class Service:
    """One service. ``port`` is its distance from the gateway's.

    ``seed`` puts the demo's records in place (any number of times, also side by side with the
    other services'); ``seeded`` raises ``Degraded`` until they are all there and usable.
    ``upkeep`` goes on beside everything else for as long as the service runs. ``statuses`` maps
    codes of refused commands to HTTP statuses (409 unless named).
    """

    name: str
    port: int
    participant: Participant[Any]
    routes: Callable[[ServiceContext], Iterable[web.AbstractRouteDef]]
    resources: Callable[[Runner, ShopSettings], Mapping[type, object]] = no_resources
    seed: Callable[[ServiceContext], Awaitable[None]] = _nothing
    seeded: Callable[[ServiceContext], Awaitable[None]] = _nothing
    upkeep: Callable[[ServiceContext], Awaitable[None]] = _nothing
    statuses: Mapping[str, int] | None = None


def is_staff(principal: Principal) -> bool:
    return principal.role == STAFF


async def execute(
    request: web.Request,
    runner: Runner,
    kind: Kind[Any],
    key: str,
    command: BaseModel,
    *,
    id: str | None = None,
    first: bool = False,
) -> Reply:
    """Run a command for a request: its id and trace are carried into every event."""
    context = context_of(request)
    return await runner.execute(
        kind,
        key,
        command,
        id=id,
        request_id=context.request_id,
        traceparent=context.traceparent,
        first=first,
    )


async def list_page(
    runner: Runner,
    kind: Kind[Any],
    resource: Callable[[Any], Mapping[str, Any] | BaseModel],
    *,
    limit: int,
    cursor: str | None,
    where: Mapping[str, Scalar | tuple[Scalar, ...]] | None = None,
    newest_first: bool = True,
) -> dict[str, Any]:
    """A page of a list that is sorted by key: newest first, or ascending (by SKU)."""
    found = await runner.find(
        kind,
        StoreQuery(
            where=where or {},
            descending=newest_first,
            after=decode_cursor(cursor, kind.name),
            limit=limit + 1,
        ),
    )
    after = after_record()
    return page(
        found, limit, lambda pair: after(pair[0]), lambda pair: resource(pair[1]), kind.name
    )


async def owned(request: web.Request, runner: Runner, kind: Kind[Any], key: str) -> Any:
    """The state of a resource with a ``customer_id``; another's is 404, except for staff."""
    principal = require(request)
    stored = await runner.get(kind, key)
    if stored is None or (stored.customer_id != principal.subject and not is_staff(principal)):
        raise not_found("There is no such resource.")
    return stored


async def owned_page(
    request: web.Request,
    runner: Runner,
    kind: Kind[Any],
    resource: Callable[[Any], Mapping[str, Any] | BaseModel],
    query: ListQuery,
    **where: Scalar,
) -> web.Response:
    """The caller's own resources, everyone's for staff; ``where`` leaves out what is ``None``."""
    principal = require(request)
    asked = {name: value for name, value in where.items() if value is not None}
    if not is_staff(principal):
        asked["customer_id"] = principal.subject
    found = await list_page(
        runner, kind, resource, limit=query.limit, cursor=query.cursor, where=asked
    )
    return json_response(found)
