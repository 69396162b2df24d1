"""The tracker's host: the saga view, dead letters and, without a journal, insight."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiohttp import web

from participants.choreography import shop as choreography
from participants.host import Host
from participants.insight import business
from participants.settings import ShopSettings
from sagas import Runner
from sagas.insight import InProcess, insight_routes
from sagas.insight.shares import Shares
from sagas.insight.sums import KEPT_S
from sagas.ports import Broker, Clock, Ids, Store
from sagas.tracker import Tracker
from sagas.tracker import routes as tracker_routes
from sagas.web.metrics import Metrics

__all__ = ["TrackerHost"]


class TrackerHost(Host):
    """The tracker: one more subscriber, with its own store."""

    name, port = "tracker", 7

    def __init__(
        self,
        settings: ShopSettings,
        *,
        store: Store,
        broker: Broker,
        clock: Clock,
        ids: Ids,
        alone: bool = False,
        keep_sent_s: float = 0.0,
    ) -> None:
        super().__init__(settings, store=store, broker=broker, clock=clock, ids=ids)
        self.tracker = Tracker(
            choreography,
            store=store,
            broker=broker,
            clock=clock,
            ids=ids,
            cause_wait_s=settings.cause_wait_s,
            read_facts=business.read,
            alone=alone,
            keep_sent_s=keep_sent_s,
        )
        operator = choreography.operator
        self.insight = InProcess(self.tracker.plan, business, clock)
        self.shares = Shares(settings.worker_urls, self.tokens, operator, clock)
        if not settings.has_journal:
            self.tracker.watch(self.insight.saw)

    @property
    def runners(self) -> tuple[Runner, ...]:
        return self.tracker.runners

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        tracker = self.tracker
        operator = tracker.choreography.operator
        # With a stream its workers have the sums of all trackers; without, this one has its own.
        source = self.shares.sums if self.settings.has_journal else self.insight.sums
        return [
            *tracker_routes(tracker, self.idempotent),
            *insight_routes(source, tracker.plan, operator, self._clock, self._ids),
        ]

    async def start(self) -> None:
        await super().start()
        if not self.settings.has_journal:
            self._keep("sums", self._sum())

    async def stop(self, grace_s: float = 5.0) -> None:
        await super().stop(grace_s)
        await self.shares.close()

    async def _sum(self) -> None:
        await self._opened.wait()
        await self.insight.run(self.tracker.past(self._clock.now() - KEPT_S))

    def statuses(self) -> Mapping[str, int]:
        return {"not_found": 404}

    def measure(self, metrics: Metrics) -> None:
        super().measure(metrics)
        metrics.tally(
            "saga_violations_total",
            "Events that the choreography does not allow, or whose cause has not come, by code.",
            lambda: {(code,): count for code, count in self.tracker.violations.items()},
            ("code",),
        )
