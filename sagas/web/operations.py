"""What a route promises, told at its handler: router and OpenAPI document are made of it.

The description is not only told, it holds: who may call, whether a query or a body is read and by
which model, and whether a key makes it run once, is checked from here before or while the handler
runs. So a route that is described wrongly fails its first test.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from sagas.web.auth import require
from sagas.web.body import DECLARED, read_nothing, refuse_query
from sagas.web.idempotency import Handler, Idempotency

__all__ = [
    "ANYBODY",
    "CALLER",
    "TEXT",
    "Content",
    "Operation",
    "Who",
    "described",
    "operation_of",
    "operations",
    "page",
    "routes_of",
]

H = TypeVar("H", bound=Callable[..., Awaitable[web.StreamResponse]])
#: Raises a ``Problem`` for a caller who is not let in.
Guard = Callable[[web.Request], Awaitable[None]]

_ATTRIBUTE: Final = "__operation__"


@dataclass(frozen=True, slots=True)
class Who:
    """Who may call. ``scheme`` names how callers prove who they are; ``None`` is everybody.

    ``bearer`` is a token of ours; another scheme is checked by a guard of that name, and shown in
    the document as ``shown`` (an OpenAPI security scheme).
    """

    scheme: str | None
    role: str | None = None
    shown: Mapping[str, str] = field(default_factory=dict)


ANYBODY: Final = Who(None)
CALLER: Final = Who("bearer", shown={"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that is not the usual JSON, or may be something else: media type → its model."""

    kinds: Mapping[str, Any]


TEXT: Final = Content({"text/plain": str})


@dataclass(frozen=True, slots=True)
class Operation:
    """One route. ``answers``: status → what it holds (a model, ``Content``, or ``None``: nothing).

    ``refuses`` are the codes, by status, that the handler itself may answer with; those that
    follow from the rest (no token, a bad body, …) are added by the document. ``places`` has an
    example for each parameter of the path. ``examples`` of bodies are requests that work, in this
    order, on a shop with its demo seed; ``sample`` is a query that does.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[int, Any]
    who: Who = CALLER
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_optional: bool = False
    refuses: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    examples: Mapping[str, Any] = field(default_factory=dict)
    sample: Mapping[str, str] = field(default_factory=dict)
    #: What else it reads: name → an OpenAPI parameter object without name and place.
    headers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    #: Runs once for each Idempotency-Key. Of answers with these statuses nothing is kept.
    once: bool = False
    forget: frozenset[int] = frozenset()
    #: Readable again with If-None-Match.
    tagged: bool = False
    if_match: Literal["", "optional", "required"] = ""
    #: Health, metrics and documents: they read no query, and answer when nothing else does.
    always: bool = False

    @property
    def name(self) -> str:
        """Unique, and stable: ``post_api_orders``."""
        parts = [part.strip("{}") for part in self.path.replace("-", "_").split("/") if part]
        return "_".join([self.method.lower(), *parts]).replace(".", "_")

    @property
    def takes_nothing(self) -> bool:
        """It changes something, and a body is not asked how."""
        return self.body is None and self.method != "GET"

    @property
    def tag(self) -> str:
        """What it is about: the segment behind ``/api/``."""
        parts = self.path.split("/")
        return parts[2] if parts[1] == "api" else "process"

    def __call__(self, handler: H) -> H:
        """Describe the decorated handler."""
        setattr(handler, _ATTRIBUTE, self)
        return handler


def page(handler: H) -> H:
    """Mark the decorated handler as one for people: it stands in no document."""
    setattr(handler, _ATTRIBUTE, page)
    return handler


def operation_of(handler: object) -> Operation | None:
    """How a handler is described."""
    found = getattr(handler, _ATTRIBUTE, None)
    return found if isinstance(found, Operation) else None


def routes_of(
    owner: object,
    *,
    once: Idempotency | None = None,
    guards: Mapping[str, Guard] | None = None,
    roles: Mapping[str, str] | None = None,
) -> list[web.RouteDef]:
    """The routes of an object's described methods, in the order in which they are written.

    ``once`` is needed for those that run once; ``guards`` for schemes other than ``bearer``;
    ``roles`` gives names to roles that are only known here.
    """
    names = [name for cls in reversed(type(owner).__mro__) for name in vars(cls)]
    handlers = (getattr(owner, name) for name in dict.fromkeys(names) if name[:2] != "__")
    return [
        described(handler, once=once, guards=guards, roles=roles)
        for handler in handlers
        if operation_of(handler) is not None
    ]


def described(
    handler: Handler,
    *,
    once: Idempotency | None = None,
    guards: Mapping[str, Guard] | None = None,
    roles: Mapping[str, str] | None = None,
) -> web.RouteDef:
    """The route of one described handler."""
    promise = operation_of(handler)
    assert promise is not None, f"{handler} has no @Operation"
    who = promise.who
    if who.role is not None:
        named = replace(who, role=(roles or {}).get(who.role, who.role))
        promise = replace(promise, who=named)
    inner = _reading(handler, promise)
    if promise.once:
        assert once is not None, f"{promise.name} runs once: give it an Idempotency"
        # Callers are checked by the guard, before anything is stored.
        inner = once(inner, public=True, forget=promise.forget)
    guard = _guard(promise.who, guards or {})

    async def handle(request: web.Request) -> web.StreamResponse:
        if guard is not None:
            await guard(request)
        return await inner(request)

    setattr(handle, _ATTRIBUTE, promise)
    return web.route(promise.method, promise.path, handle)


def _reading(handler: Handler, promise: Operation) -> Handler:
    declared = tuple(model for model in (promise.query, promise.body) if model is not None)

    async def read(request: web.Request) -> web.StreamResponse:
        request[DECLARED] = declared
        if promise.query is None and not promise.always:
            refuse_query(request)
        if promise.takes_nothing:
            await read_nothing(request)
        return await handler(request)

    return read


def _guard(who: Who, guards: Mapping[str, Guard]) -> Guard | None:
    if who.scheme is None:
        return None
    if who.scheme != "bearer":
        return guards[who.scheme]

    async def by_token(request: web.Request) -> None:
        require(request, who.role)

    return by_token


def operations(routes: Iterable[web.AbstractRoute]) -> list[Operation]:
    """What a router's routes promise. Raises ``LookupError`` for one that promises nothing.

    Routes for any method are passages to somewhere else, and promise nothing themselves.
    """
    found = []
    for route in routes:
        if route.method in ("*", "HEAD"):
            continue
        if getattr(route.handler, _ATTRIBUTE, None) is page:
            continue
        promise = operation_of(route.handler)
        if promise is None:
            raise LookupError(f"{route.method} {route.resource} has no @Operation")
        found.append(promise)
    return found
