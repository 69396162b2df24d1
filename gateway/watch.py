"""What goes on at one upstream, for operators: counts, latest errors, changes of its breakers."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

from gateway.calls import Call, Refused, UpstreamRequest, UpstreamResponse, Verdict, verdict
from gateway.counts import SlidingCount
from sagas.ports import Clock
from sagas.web.metrics import Counter, Metrics
from sagas.web.problems import Problem

__all__ = ["Failure", "GatewayMetrics", "Watch"]

WINDOW_S = 10.0
#: Errors remembered of each upstream.
LATEST = 10

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call that failed; ``at`` is wall-clock time."""

    at: float
    instance: str
    method: str
    path: str
    request_id: str
    said: str


class GatewayMetrics:
    """The counters that all upstreams share."""

    def __init__(self, metrics: Metrics) -> None:
        self.calls: Counter = metrics.counter(
            "gateway_calls_total", "Calls sent, each attempt for itself.", ("upstream", "outcome")
        )
        self.refused: Counter = metrics.counter(
            "gateway_refused_total", "Requests that the gateway refused.", ("upstream", "code")
        )
        self.stale: Counter = metrics.counter(
            "gateway_stale_total", "Answers from the cache while the service failed.", ("upstream",)
        )
        self.changes: Counter = metrics.counter(
            "gateway_breaker_changes_total",
            "Changes of a breaker's state.",
            ("upstream", "instance", "state"),
        )


class Watch:
    """Two policies that only look: ``requests`` around everything, ``calls`` around each call."""

    def __init__(self, upstream: str, clock: Clock, metrics: GatewayMetrics) -> None:
        self._upstream = upstream
        self._clock = clock
        self._metrics = metrics
        self.asked = SlidingCount(WINDOW_S)
        self.sent = SlidingCount(WINDOW_S)
        self.failed = SlidingCount(WINDOW_S)
        self.shed = SlidingCount(WINDOW_S)
        self.refused = SlidingCount(WINDOW_S)
        self.latest: deque[Failure] = deque(maxlen=LATEST)

    async def requests(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        self.asked.add()
        try:
            return await call(request)
        except Refused as refused:
            self.refused.add()
            self._metrics.refused.add(self._upstream, refused.code)
            raise

    async def calls(self, instance: str, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        try:
            answer = await call(request)
        except Refused:
            raise  # by the breaker: nothing was sent
        except Problem as problem:
            self._sent(instance, request, problem.code, verdict(request, problem))
            raise
        self._sent(instance, request, str(answer.status), verdict(request, answer))
        return answer

    def changed(self, instance: str, old: str, new: str) -> None:
        """A breaker did."""
        self._metrics.changes.add(self._upstream, instance, new)
        said = "%s at %s: the breaker was %s and is %s"
        log.warning(said, self._upstream, instance, old.replace("_", "-"), new.replace("_", "-"))

    def _sent(self, instance: str, request: UpstreamRequest, said: str, found: Verdict) -> None:
        self.sent.add()
        self._metrics.calls.add(self._upstream, found)
        if found == "shed":
            self.shed.add()
        if found != "failed":
            return
        self.failed.add()
        path, request_id = request.target.partition("?")[0], request.headers.get("X-Request-Id", "")
        failure = Failure(self._clock.now(), instance, request.method, path, request_id, said)
        self.latest.append(failure)
