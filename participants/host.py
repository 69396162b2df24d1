"""Hosts a part of the shop in a process: its runners, its HTTP application, its upkeep."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import web

from participants.service import Service, ServiceContext
from participants.settings import ShopSettings
from sagas import Runner, SagaError, StoreUnavailable
from sagas.outages import patiently
from sagas.ports import Broker, Clock, Ids, RemoteBroker, RemoteStore, Store
from sagas.supervised import Supervised
from sagas.web.app import RunningServer, WebSettings, make_app, serve
from sagas.web.auth import Tokens
from sagas.web.documents import add_openapi
from sagas.web.health import Check, Degraded, add_health
from sagas.web.idempotency import Idempotency
from sagas.web.metrics import Metrics
from sagas.web.state import OPENED

__all__ = ["Host", "ServiceHost"]

log = logging.getLogger(__name__)

EXPIRE_EVERY_S = 60.0
EXPIRE_AT_ONCE = 1_000


class Host:
    """What a service and the tracker have in common. The queues are declared before ``start``."""

    name: str
    port: int

    def __init__(
        self, settings: ShopSettings, *, store: Store, broker: Broker, clock: Clock, ids: Ids
    ) -> None:
        self.settings = settings
        secret, others = settings.jwt_secret, settings.jwt_others
        self.idempotent = Idempotency(store, clock, ids, secret=secret, others=others)
        self.tokens = Tokens(secret, clock, others=others)
        self._store = store
        self._broker = broker
        self._clock = clock
        self._ids = ids
        self._upkeep = Supervised()
        self._server: RunningServer | None = None
        self._opened = asyncio.Event()

    @property
    def failures(self) -> list[asyncio.Future[None]]:
        """Each ends with the exception when something of this host died: the process should end."""
        return [self._upkeep.failed, *(runner.failed for runner in self.runners)]

    @property
    def runners(self) -> tuple[Runner, ...]:
        raise NotImplementedError

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        raise NotImplementedError

    def checks(self) -> Mapping[str, Check]:
        return {
            "store": Check(self._store_is_there),
            "broker": Check(self._broker.ping, required=False),
        }

    def statuses(self) -> Mapping[str, int]:
        return {}

    def measure(self, metrics: Metrics) -> None:
        """Register what can be read at /metrics beside the requests."""
        _runner_metrics(metrics, self.runners)
        _broker_metrics(metrics, self._broker)
        _store_metrics(metrics, self._store)

    async def start(self) -> None:
        """Open the store, begin to consume, listen.

        A store on a server is opened beside that, however long the server is away: until then
        readiness tells what is waited for, and everything else answers 503.
        """
        if not isinstance(self._store, RemoteStore):
            await self._open()
        app = self.application()
        if not self._opened.is_set():
            app[OPENED].clear()
        port = self.settings.port_base + self.port
        self._server = await serve(app, self.settings.host, port)
        self._keep("work", self._work(app[OPENED]))

    def application(self) -> web.Application:
        """All that answers requests here."""
        metrics = Metrics()
        app = make_app(
            self._ids,
            tokens=self.tokens,
            metrics=metrics,
            settings=WebSettings(name=self.name, statuses=self.statuses()),
        )
        app.router.add_routes(self.routes())
        self.measure(metrics)
        add_health(app, self.checks(), metrics)
        add_openapi(app, f"The shop: {self.name}", "One service of the shop, on its own port.")
        return app

    async def _open(self) -> None:
        await self._store.open([Idempotency.COLLECTION])
        for runner in self.runners:
            await runner.start()
        self._opened.set()

    async def _work(self, opened: asyncio.Event) -> None:
        """What goes on beside the requests, once the store is there."""
        if not self._opened.is_set():
            await patiently(self._open, self._clock, self.name)
            opened.set()
        await self._expire()

    async def _store_is_there(self) -> None:
        await self._store.ping()
        if not self._opened.is_set():
            raise StoreUnavailable("it is back, and is being opened")

    def announce_stop(self) -> None:
        """Answer those who only wait, before anybody stops."""
        if self._server is not None:
            self._server.announce_stop()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Answer what is being asked, finish what is under way, then let go."""
        await self._upkeep.close()
        if self._server is not None:
            await self._server.stop(grace_s)
        await asyncio.gather(*(runner.stop(grace_s) for runner in self.runners))

    @property
    def address(self) -> str:
        return f"http://{self.settings.host}:{self.settings.port_base + self.port}"

    def _keep(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        self._upkeep.keep(f"{self.name}'s {what}", work)

    async def _expire(self) -> None:
        collection = Idempotency.COLLECTION.name
        while True:
            with suppress(StoreUnavailable):
                # Another minute brings another chance; readiness tells that the store is away.
                while (
                    await self._store.expire(collection, self._clock.now(), EXPIRE_AT_ONCE)
                    == EXPIRE_AT_ONCE
                ):
                    await self._clock.sleep(0)
            await self._clock.sleep(EXPIRE_EVERY_S)


class ServiceHost(Host):
    """One service."""

    def __init__(
        self,
        service: Service,
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
        self.service = service
        self.name, self.port = service.name, service.port
        self.runner = Runner(
            service.participant,
            store=store,
            broker=broker,
            clock=clock,
            ids=ids,
            resources=lambda runner: service.resources(runner, settings),
            alone=alone,
            keep_sent_s=keep_sent_s,
        )
        self.context = ServiceContext(
            runner=self.runner,
            settings=settings,
            clock=clock,
            ids=ids,
            tokens=self.tokens,
            idempotent=self.idempotent,
        )
        self._is_seeded = settings.seed == "none"

    @property
    def runners(self) -> tuple[Runner, ...]:
        return (self.runner,)

    def routes(self) -> Iterable[web.AbstractRouteDef]:
        return self.service.routes(self.context)

    def checks(self) -> Mapping[str, Check]:
        return {**super().checks(), "seed": Check(self._seeded)}

    def statuses(self) -> Mapping[str, int]:
        return self.service.statuses or {}

    async def start(self) -> None:
        await super().start()
        self._keep("upkeep", self._keep_up())
        if self.settings.seed != "none":
            self._keep("seed", self._seed())

    async def _keep_up(self) -> None:
        await self._opened.wait()
        await self.service.upkeep(self.context)

    async def _seeded(self) -> None:
        if self._is_seeded:
            return
        if not self._opened.is_set():
            raise StoreUnavailable("it waits for the store")
        try:
            await self.service.seeded(self.context)
        except Degraded as missing:
            # Until the seed is in, the shop cannot do what its address is given out for.
            raise SagaError(str(missing)) from missing
        self._is_seeded = True

    async def _seed(self) -> None:
        await self._opened.wait()
        while True:
            try:
                return await self.service.seed(self.context)
            except StoreUnavailable as error:
                log.warning("%s's seed waits for the store: %s", self.name, error)
                await self._clock.sleep(1.0)


def _runner_metrics(metrics: Metrics, runners: tuple[Runner, ...]) -> None:
    """The engine's own figures, read when they are asked for."""
    figures: dict[str, tuple[str, Callable[[Runner], float]]] = {
        "saga_jobs": ("Deliveries, commands and timers handled.", lambda r: r.counts.jobs),
        "saga_commits": ("Commits, each of many documents.", lambda r: r.counts.commits),
        "saga_writes": ("Documents written.", lambda r: r.counts.writes),
        "saga_conflicts": ("Writes that lost their race.", lambda r: r.counts.conflicts),
        "saga_outages": ("Times the store or broker was away.", lambda r: r.counts.outages),
        "saga_retries": ("Retries stored.", lambda r: r.trouble.retries),
        "saga_dead_letters": ("Dead letters made.", lambda r: r.trouble.dead_letters),
        "saga_published": ("Events that the broker took.", lambda r: r.relay.published),
        "saga_backlog": ("Events on their way to the broker.", lambda r: r.relay.backlog),
    }

    def reader(read: Callable[[Runner], float]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {(runner.participant.name,): read(runner) for runner in runners}

    for name, (text, read) in figures.items():
        metrics.gauge(name, text, reader(read), ("participant",))


def _broker_metrics(metrics: Metrics, broker: Broker) -> None:
    if isinstance(broker, RemoteBroker):
        text = "Messages that the broker's server confirmed; events may travel together."
        metrics.gauge("saga_broker_messages", text, lambda: broker.sent)


def _store_metrics(metrics: Metrics, store: Store) -> None:
    if isinstance(store, RemoteStore):
        text = "Commands sent to the store's server."
        metrics.gauge("saga_store_round_trips", text, lambda: store.round_trips)
