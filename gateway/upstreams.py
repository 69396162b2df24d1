"""All services behind the gateway, and what their metrics say."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from gateway.calls import Call, Send, UpstreamRequest, UpstreamResponse
from gateway.resilience import Upstream, pipeline
from gateway.settings import GatewaySettings
from gateway.stale import StaleReads
from gateway.watch import GatewayMetrics, Watch
from sagas.ports import Clock, Ids
from sagas.web.metrics import Labels, Metrics

__all__ = ["Upstreams"]

#: The service whose answers to GET are the same for everybody, and worth more old than not at all.
PUBLIC_READS = "product"
_STATES = {"closed": 0.0, "open": 1.0, "half_open": 2.0}


class Upstreams:
    """``send`` makes one call to one instance."""

    def __init__(
        self, settings: GatewaySettings, send: Send, clock: Clock, ids: Ids, metrics: Metrics
    ) -> None:
        counters = GatewayMetrics(metrics)
        self._of = {
            name: Upstream(
                name,
                urls,
                settings.limits_of(name),
                send,
                clock=clock,
                ids=ids,
                watch=Watch(name, clock, counters),
            )
            for name, urls in settings.upstreams.items()
        }
        self._calls: dict[str, Call] = {name: each.call for name, each in self._of.items()}
        if PUBLIC_READS in self._of:
            stale = StaleReads(
                settings.stale_for_s,
                settings.stale_cache_bytes,
                lambda: counters.stale.add(PUBLIC_READS),
            )
            self._calls[PUBLIC_READS] = pipeline([stale], self._of[PUBLIC_READS].call)
        self._measure(metrics)

    def __iter__(self) -> Iterator[Upstream]:
        return iter(self._of.values())

    async def call(self, request: UpstreamRequest) -> UpstreamResponse:
        """The answer of the service, or the problem that stands for it. ``close`` it."""
        return await self._calls[request.service](request)

    def _measure(self, metrics: Metrics) -> None:
        def each(read: Callable[[Upstream], float]) -> Callable[[], Mapping[Labels, float]]:
            return lambda: {(upstream.name,): read(upstream) for upstream in self}

        def states() -> Mapping[Labels, float]:
            return {
                (upstream.name, instance.url): _STATES[instance.breaker.state]
                for upstream in self
                for instance in upstream.instances
            }

        metrics.gauge(
            "gateway_breaker_state",
            "0 closed, 1 open, 2 half-open.",
            states,
            ("upstream", "instance"),
        )
        for name, text, read in (
            ("running", "Calls under way.", lambda one: one.bulkhead.running),
            ("queued", "Requests that wait for their turn.", lambda one: one.bulkhead.queued),
            ("long_running", "Waits and event streams.", lambda one: one.long.running),
        ):
            metrics.gauge(f"gateway_{name}", text, each(read), ("upstream",))
