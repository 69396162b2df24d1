"""How long the caller still waits for its answer: past that, working on it is wasted."""

from __future__ import annotations

import asyncio
import re

from aiohttp import web
from aiohttp.typedefs import Handler

from sagas.web.context import RequestContext
from sagas.web.problems import Problem

__all__ = ["TIMEOUT_MS", "in_time", "time_left_s"]

#: Whole milliseconds from the request's arrival on: a span, since two machines' clocks differ.
TIMEOUT_MS = "X-Request-Timeout-Ms"

_DIGITS = re.compile(r"[0-9]{1,9}")


def time_left_s(request: web.BaseRequest) -> float | None:
    """Seconds that the caller gives; ``None`` when it says nothing, or nothing sensible."""
    said = request.headers.get(TIMEOUT_MS)
    return int(said) / 1_000 if said is not None and _DIGITS.fullmatch(said) else None


async def in_time(
    handler: Handler, request: web.Request, context: RequestContext, limit_s: float
) -> web.StreamResponse:
    """The handler's answer; past the limit the handler is cancelled, and the answer is 504.

    A stream counts until it begins. What the handler had written or posted by then stays so, as if
    the process had died there: a client that wants to know repeats its request, with its key.
    """
    deadline = asyncio.timeout(limit_s)
    detail = f"The request was not answered within the caller's {limit_s:g} s."
    if limit_s == 0:
        raise Problem(504, "upstream_timeout", detail)
    try:
        async with deadline:
            context.deadline = deadline
            try:
                return await handler(request)
            finally:
                context.deadline = None
    except TimeoutError:
        if not deadline.expired():
            raise  # the handler's own
        raise Problem(504, "upstream_timeout", detail) from None
