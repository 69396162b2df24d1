"""What protects a call: policies around it, the first one outermost.

A policy is a function around a call: it may refuse, delay, repeat or limit it. Their order is
limit → retry → bulkhead → breaker → time limit → call, so that each attempt counts for the breaker
and waiting for a turn does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from gateway.clients import UpstreamRequest, UpstreamResponse, UpstreamTimeout

__all__ = ["Call", "Policy", "pipeline", "time_limit"]

Call = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]
Policy = Callable[[Call, UpstreamRequest], Awaitable[UpstreamResponse]]


def pipeline(policies: Sequence[Policy], call: Call) -> Call:
    """``call`` behind every policy."""
    for policy in reversed(policies):
        call = partial(policy, call)
    return call


async def time_limit(call: Call, request: UpstreamRequest) -> UpstreamResponse:
    """504 when the answer takes longer than the request's limit.

    A stream counts until it begins: how long it lasts is its reader's affair.
    """
    try:
        async with asyncio.timeout(request.limit_s):
            return await call(request)
    except TimeoutError:
        raise UpstreamTimeout(request.service, request.limit_s) from None
