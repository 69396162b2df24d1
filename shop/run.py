"""``shop run``: all services, the tracker and the gateway in one process, durable, no server."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from gateway.app import create_gateway
from gateway.settings import load_settings
from participants.choreography import shop as choreography
from participants.forwarding import JournalHost
from participants.host import Host, ServiceHost
from participants.services import SERVICES
from participants.settings import ShopSettings
from participants.tracking import TrackerHost
from sagas import SettingError
from sagas.insight.address import JOURNAL_QUEUE
from sagas.system import SystemClock, SystemIds
from sagas.web.app import RunningServer, serve
from sagas.wiring import Backends, open_backends
from shop.opening import shop_url, tell_when_open, wait_ready
from shop.stream import stream_programs
from shop.supervisor import Supervisor

__all__ = ["Shop", "run", "with_secrets"]

log = logging.getLogger(__name__)

READY_WITHIN_S = 60.0


def with_secrets(settings: ShopSettings) -> ShopSettings:
    """The settings with secrets made where absent, and kept in the data folder for next time."""
    return replace(
        settings,
        jwt_secret=settings.jwt_secret or _kept(settings.data_dir / "jwt-secret"),
        carrier_secret=settings.carrier_secret or _kept(settings.data_dir / "carrier-secret"),
    )


def _kept(file: Path) -> str:
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            _make_secret(file)
        secret = file.read_text().strip()
    except OSError as error:
        raise SettingError(f"SHOP_DATA_DIR: {file} cannot be kept: {error.strerror}") from error
    if len(secret) < 32:
        raise SettingError(f"{file} holds no secret of 32 characters: delete it")
    return secret


def _make_secret(file: Path) -> None:
    # Whole before it has its name: whoever dies amid writing leaves no half of a secret.
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    # Readable by its owner from the first moment.
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as opened:
            opened.write(secrets.token_urlsafe(48) + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        with suppress(FileExistsError):  # another one started together with us: its secret counts
            os.link(draft, file)
    finally:
        draft.unlink()


class Shop:
    """The whole shop on the embedded default: ``start``, ``wait_ready``, ``stop``."""

    def __init__(self, settings: ShopSettings) -> None:
        self.settings = with_secrets(settings)
        self.clock, self.ids = SystemClock(), SystemIds()
        self._backends: Backends | None = None
        self.hosts: dict[str, ServiceHost] = {}
        self.tracker: TrackerHost | None = None
        self.journal: JournalHost | None = None
        self._gateway: RunningServer | None = None

    @property
    def url(self) -> str:
        """Where the gateway listens."""
        return shop_url(self.settings)

    async def start(self) -> None:
        """Start everything. Raises ``OSError`` when a port is taken."""
        settings = self.settings
        backends = open_backends(
            settings.store_url,
            settings.broker_url,
            settings.data_dir,
            keep_sent_s=settings.keep_sent_s,
        )
        self._backends = backends
        self.tracker = TrackerHost(
            settings,
            store=backends.store("tracker"),
            broker=backends.broker,
            clock=self.clock,
            ids=self.ids,
            alone=backends.alone,
            keep_sent_s=backends.keep_sent_s,
        )
        journal = JOURNAL_QUEUE if settings.has_journal else {}
        queues = choreography.queues(*self.tracker.tracker.participants)
        await backends.broker.open({**queues, **journal})
        await self.tracker.start()
        if settings.has_journal:
            self.journal = JournalHost(
                settings,
                store=backends.store("journal"),
                broker=backends.broker,
                clock=self.clock,
                ids=self.ids,
            )
            await self.journal.start()
        for service in SERVICES:
            host = ServiceHost(
                service,
                settings,
                store=backends.store(service.name),
                broker=backends.broker,
                clock=self.clock,
                ids=self.ids,
                alone=backends.alone,
                keep_sent_s=backends.keep_sent_s,
            )
            self.hosts[service.name] = host
            await host.start()
        environment = {
            **os.environ,
            "SHOP_JWT_SECRET": settings.jwt_secret,
            "SHOP_JWT_OTHER_SECRETS": settings.jwt_other_secrets,
            "SHOP_HOST": settings.host,
            "SHOP_PORT_BASE": str(settings.port_base),
            "SHOP_SEED": settings.seed,
        }
        gateway_settings = load_settings(environment)
        app = create_gateway(gateway_settings, self.clock, self.ids)
        self._gateway = await serve(app, settings.host, settings.port_base)

    async def wait_ready(self) -> None:
        """Until every service is ready, and the seed can be ordered."""
        async with asyncio.timeout(READY_WITHIN_S):
            await wait_ready(self.url)

    @property
    def addresses(self) -> dict[str, str]:
        """Where each service listens, and the tracker."""
        return {host.name: host.address for host in self._all}

    @property
    def _all(self) -> tuple[Host, ...]:
        others = (self.tracker, self.journal)
        return (*self.hosts.values(), *(host for host in others if host is not None))

    async def failed(self) -> None:
        """Raise what a supervised task died of, when one does."""
        failures = [failed for host in self._all for failed in host.failures]
        done, _ = await asyncio.wait(failures, return_when=asyncio.FIRST_COMPLETED)
        for future in done:
            future.result()

    async def stop(self) -> None:
        """The edge first, then the services, the tracker, and last what they all stand on."""
        # But whoever waits at the edge waits for a service, which therefore has to know.
        for host in self._all:
            host.announce_stop()
        if self._gateway is not None:
            await self._gateway.stop(5.0)
        await asyncio.gather(*(host.stop() for host in self.hosts.values()))
        if self.journal is not None:
            await self.journal.stop()
        if self.tracker is not None:
            await self.tracker.stop()
        if self._backends is not None:
            await self._backends.close()


async def run(settings: ShopSettings) -> None:
    """Run the shop in the foreground until Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    shop = Shop(settings)
    failed: asyncio.Task[None] | None = None
    working: asyncio.Task[None] | None = None
    opening: asyncio.Task[None] | None = None
    stopping = asyncio.create_task(stop.wait())
    try:
        await shop.start()
        failed = asyncio.create_task(shop.failed())
        if shop.settings.has_journal:
            working = asyncio.create_task(_work_on_stream(shop, stop))
        opening = asyncio.create_task(tell_when_open(shop.settings, shop.addresses))
        await asyncio.wait({stopping, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        print("Stopping …", flush=True)
    finally:
        stop.set()
        if working is not None:
            await asyncio.gather(working, return_exceptions=True)
        for task in (stopping, failed, opening):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await shop.stop()


async def _work_on_stream(shop: Shop, stop: asyncio.Event) -> None:
    """The stream's workers: Faust has an event loop, and a process, to itself."""
    if programs := stream_programs(shop.settings, os.environ):
        supervisor = Supervisor(lambda line: print(line, flush=True), shop.clock)
        await supervisor.run(programs, stop)
