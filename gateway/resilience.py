"""What protects the calls to a service: policies around a call, the first one outermost.

A policy is a function around a call: it may refuse, delay, repeat or limit it. Their order is
limit → retry → bulkhead → breaker → time limit → call: each attempt counts for the breaker, waiting
for a turn does not, and nobody waits for a turn at a service whose breaker is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from gateway.breaker import Breaker
from gateway.bulkhead import Bulkhead, LongBulkhead
from gateway.calls import (
    Call,
    CircuitOpen,
    ConnectTimeout,
    Policy,
    Send,
    Unreachable,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)
from gateway.limits import UpstreamLimit
from gateway.retries import Budget, Retries
from gateway.settings import UpstreamLimits
from gateway.watch import Watch
from sagas.ports import Clock, Ids

__all__ = ["Instance", "Upstream", "pipeline", "time_limit"]


def pipeline(policies: Sequence[Policy], call: Call) -> Call:
    """``call`` behind every policy."""
    for policy in reversed(policies):
        call = partial(policy, call)
    return call


async def time_limit(call: Call, request: UpstreamRequest) -> UpstreamResponse:
    """504 when there is no answer by the request's deadline.

    A stream counts until it begins: how long it lasts is its reader's affair.
    """
    try:
        async with asyncio.timeout_at(request.deadline):
            return await call(request)
    except TimeoutError:
        raise UpstreamTimeout(request.service) from None


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service, behind a breaker of its own: it may fail alone."""

    url: str
    breaker: Breaker
    call: Call


class Upstream:
    """One service: its instances, and all that stands in front of them."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        limits: UpstreamLimits,
        send: Send,
        *,
        clock: Clock,
        ids: Ids,
        watch: Watch,
    ) -> None:
        self.name = name
        self.limits = limits
        self.limit = UpstreamLimit(limits)
        self.budget = Budget(limits)
        self.bulkhead = Bulkhead(limits)
        self.long = LongBulkhead(limits)
        self.watch = watch
        self.instances = tuple(self._instance(url, send) for url in urls)
        self._turn = 0
        self.call = pipeline(
            (
                watch.requests,
                self.limit,
                Retries(limits, self.budget, clock, ids),
                self._fail_fast,
                self._bulkheads,
            ),
            self._in_turn,
        )

    def _instance(self, url: str, send: Send) -> Instance:
        breaker = Breaker(self.limits, partial(self.watch.changed, url))
        policies = (partial(self.watch.calls, url), breaker, time_limit)
        return Instance(url, breaker, pipeline(policies, partial(send, url)))

    async def _fail_fast(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        """Refuse at once, without waiting in the bulkhead, what every breaker would refuse."""
        wait_s = min(each.breaker.retry_after_s for each in self.instances)
        if wait_s > 0:
            raise CircuitOpen(self.name, wait_s)
        return await call(request)

    async def _bulkheads(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        return await (self.long if request.is_long else self.bulkhead)(call, request)

    async def _in_turn(self, request: UpstreamRequest) -> UpstreamResponse:
        """Ask the instance whose turn it is; the next when its breaker is open, or nobody there.

        Any request may be repeated that was never sent.
        """
        turn, self._turn = self._turn, (self._turn + 1) % len(self.instances)
        failure: Exception | None = None
        for instance in self.instances[turn:] + self.instances[:turn]:
            try:
                return await instance.call(request)
            except CircuitOpen as error:
                failure = failure or error
            except (Unreachable, ConnectTimeout) as error:
                failure = error
        assert failure is not None  # an upstream has an instance
        raise failure
