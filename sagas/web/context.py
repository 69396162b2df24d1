"""The facts about one request that handlers and answers need, in one small object."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from sagas.ports import Ids

__all__ = ["CONTEXT", "Principal", "RequestContext", "context_of", "new_context", "operation_id"]

_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")
# W3C Trace Context: version ff and all-zero ids are invalid; only version 00 has a fixed length.
_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: the token's subject and role."""

    subject: str
    role: str


@dataclass(slots=True)
class RequestContext:
    """``principal`` is ``None`` for an anonymous caller.

    ``operation_id`` names what this request does: a repeat of the same idempotent request carries
    the same, so a handler that uses it as the id of what it creates creates it once.
    ``route`` is the label of the request in metrics, when the route's template says too little.
    ``headers`` are added to the answer, whatever it is. ``deadline`` ends the handler's work.
    """

    request_id: str
    traceparent: str
    principal: Principal | None = None
    operation_id: str = ""
    route: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline: asyncio.Timeout | None = None


CONTEXT: Final = web.RequestKey("sagas.context", RequestContext)


def context_of(request: web.BaseRequest) -> RequestContext:
    """The facts about this request."""
    return request[CONTEXT]


def operation_id(request: web.BaseRequest) -> str:
    """The id of what this request creates (set by ``Idempotency``)."""
    name = request[CONTEXT].operation_id
    if not name:
        raise LookupError("this route has no operation id; wrap its handler with Idempotency")
    return name


def new_context(request_id: str | None, traceparent: str | None, ids: Ids) -> RequestContext:
    """Take what the caller sent when it is sane, else make it."""
    if request_id is None or not _REQUEST_ID.fullmatch(request_id):
        request_id = fresh = ids.new()
    else:
        fresh = ""
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        traceparent = _new_traceparent(fresh or ids.new())
    return RequestContext(request_id, traceparent)


def _new_traceparent(seed: str) -> str:
    # Derived from an id, so that a simulated run makes the same trace ids again.
    digest = hashlib.blake2b(seed.encode(), digest_size=24).hexdigest()
    return f"00-{digest[:32]}-{digest[32:]}-01"
