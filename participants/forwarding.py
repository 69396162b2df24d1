"""The journal's host: beside the services where there is one process, else in its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web

from participants.choreography import shop as choreography
from participants.host import Host
from participants.insight import business
from participants.settings import JOURNAL_PORT, ShopSettings
from sagas import Runner, SettingError
from sagas.insight.address import kafka_address
from sagas.ports import Broker, Clock, Ids, Store
from sagas.tracker import plan_of
from sagas.web.health import Check
from sagas.web.metrics import Metrics

__all__ = ["JournalHost"]


class JournalHost(Host):
    """Forwards every event to Kafka, and tells how far it is."""

    name, port = "journal", JOURNAL_PORT

    def __init__(
        self, settings: ShopSettings, *, store: Store, broker: Broker, clock: Clock, ids: Ids
    ) -> None:
        super().__init__(settings, store=store, broker=broker, clock=clock, ids=ids)
        try:
            # Here, since Kafka's client is there only where it is meant to be used.
            from sagas.insight.journal import Journal
        except ImportError as error:
            raise SettingError(
                f"SHOP_JOURNAL_URL needs Kafka's client ({error}): pip install 'saga-shop[stream]'"
            ) from error
        # What it has to say the journal says better, and once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        self.journal = Journal(
            broker,
            kafka_address(settings.journal_url),
            plan_of(choreography, read_facts=business.read),
            clock,
            spool=store,
        )

    @property
    def runners(self) -> tuple[Runner, ...]:
        return ()

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return ()

    def checks(self) -> Mapping[str, Check]:
        return {**super().checks(), "kafka": Check(self.journal.ping, required=False)}

    def measure(self, metrics: Metrics) -> None:
        super().measure(metrics)

        def reader(name: str) -> Callable[[], float]:
            return lambda: self.journal.figures()[name][1]

        for name, (text, _) in self.journal.figures().items():
            metrics.gauge(name, text, reader(name))

    async def start(self) -> None:
        await super().start()
        self._keep("forwarding", self._forward())

    async def _forward(self) -> None:
        await self._opened.wait()
        await self.journal.run()
