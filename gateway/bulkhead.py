"""Bulkheads: how much may be under way at the same time, so that one leak sinks no ship."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from gateway.calls import Call, Overloaded, RateLimited, UpstreamRequest, UpstreamResponse
from gateway.settings import UpstreamLimits

__all__ = ["Bulkhead", "LongBulkhead"]


class Bulkhead:
    """A policy: so many calls at once, and a short queue, first come first served.

    Whoever finds the queue full, or waits too long in it, is ``Overloaded``: an early no is worth
    more than a late yes, and keeps the waiting of those who are accepted short. A stream keeps its
    place until it is closed.
    """

    def __init__(self, limits: UpstreamLimits) -> None:
        self._queue = limits.bulkhead_queue
        self._wait_s = limits.bulkhead_wait_ms / 1_000
        self._places = asyncio.Semaphore(limits.bulkhead_calls)
        self.running = 0
        self.queued = 0

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        await self._enter(request)
        self.running += 1
        return await _until_closed(call, request, self._leave)

    async def _enter(self, request: UpstreamRequest) -> None:
        if not self._places.locked():
            await self._places.acquire()  # at once
            return
        if self.queued >= self._queue:
            raise Overloaded(request.service)
        self.queued += 1
        try:
            async with asyncio.timeout(min(self._wait_s, request.left_s)):
                await self._places.acquire()
        except TimeoutError:
            raise Overloaded(request.service) from None
        finally:
            self.queued -= 1

    def _leave(self) -> None:
        self.running -= 1
        self._places.release()


class LongBulkhead:
    """A policy for those who wait by intention: places of their own, a share for each client and
    each address, and no queue, since places are held for long."""

    def __init__(self, limits: UpstreamLimits) -> None:
        self._places = limits.long_calls
        self._share = limits.long_calls_each
        self._address_share = limits.long_calls_address
        self._of: Counter[str] = Counter()
        self._from: Counter[str] = Counter()
        self.running = 0

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        if self.running >= self._places:
            raise Overloaded(request.service)
        if self._of[request.client] >= self._share:
            raise _too_many("long", self._share, "")
        if self._from[request.address] >= self._address_share:
            raise _too_many("long-address", self._address_share, " from one address")
        self.running += 1
        self._of[request.client] += 1
        self._from[request.address] += 1
        return await _until_closed(call, request, lambda: self._leave(request))

    def _leave(self, request: UpstreamRequest) -> None:
        self.running -= 1
        for counted, name in ((self._of, request.client), (self._from, request.address)):
            counted[name] -= 1
            if not counted[name]:
                del counted[name]


def _too_many(policy: str, share: int, where: str) -> RateLimited:
    return RateLimited(
        f"At most {share} waits and event streams at the same time{where}.",
        1.0,
        {
            "RateLimit-Policy": f'"{policy}";q={share};qu="concurrent-requests"',
            "RateLimit": f'"{policy}";r=0;t=1',
        },
    )


async def _until_closed(
    call: Call, request: UpstreamRequest, leave: Callable[[], None]
) -> UpstreamResponse:
    """Keep the place until the answer is there, and for a stream until it is closed."""
    try:
        answer = await call(request)
    except BaseException:
        leave()
        raise
    if answer.rest is None:
        leave()
    else:
        answer.on_close(leave)
    return answer
