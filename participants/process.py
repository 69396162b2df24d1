"""One service, or the tracker, in a process of its own: ``python -m participants.payment``.

On the embedded default it serves its routes on data of its own, and its events wait in its outbox:
the other services are not in this process to hear them.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from dataclasses import fields
from typing import Any

import uvloop

from participants.choreography import shop as choreography
from participants.forwarding import JournalHost
from participants.host import Host, ServiceHost
from participants.service import Service
from participants.settings import ShopSettings
from participants.tracking import TrackerHost
from sagas import SettingError, StoreUnavailable
from sagas.insight.address import JOURNAL, JOURNAL_QUEUE
from sagas.logs import set_up_logging
from sagas.system import SystemClock, SystemIds, allow_many_files, collect_rarely
from sagas.tracker import plan_of
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from sagas.wiring import open_backends

__all__ = ["add_settings", "main"]


def add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for each setting; its variable stands in brackets."""
    for each in fields(ShopSettings):
        default = f"; default: {each.default}" if each.default != "" else ""
        parser.add_argument(
            "--" + each.name.replace("_", "-"),
            metavar="VALUE",
            help=f"{each.metadata['help']} [SHOP_{each.name.upper()}]{default}",
        )


def main(service: Service | None, name: str = "tracker") -> int:
    """Serve until Ctrl-C or SIGTERM. Returns the exit code.

    Without a ``service`` it is the tracker, or what else ``name`` says: the journal.
    """
    name = name if service is None else service.name
    parser = argparse.ArgumentParser(
        prog=f"python -m participants.{name}",
        description=f"The shop's {name} in a process of its own.",
        epilog="Exit codes: 0 stopped, 1 failed, 2 wrong usage or setting.",
    )
    add_settings(parser)
    try:
        settings = ShopSettings.from_environment(**vars(parser.parse_args()))
        set_up_logging(requests=settings.request_log == "stdout")
        if not settings.jwt_secret:
            raise SettingError(
                "SHOP_JWT_SECRET is not set: several processes need the same one, of at least 32 "
                "characters"
            )
        if name == JOURNAL and not settings.has_journal:
            raise SettingError("SHOP_JOURNAL_URL is not set: the journal needs it")
        collect_rarely()
        allow_many_files()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(service, name, settings))
    except SettingError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except (StoreUnavailable, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    return 0


async def _serve(service: Service | None, name: str, settings: ShopSettings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    clock, ids = SystemClock(), SystemIds()
    backends = open_backends(
        settings.store_url,
        settings.broker_url,
        settings.data_dir,
        name=name,
        keep_sent_s=settings.keep_sent_s,
    )
    store = backends.store(name)
    host: Host
    if name == JOURNAL:
        host = JournalHost(settings, store=store, broker=backends.broker, clock=clock, ids=ids)
    elif service is None:
        host = TrackerHost(
            settings,
            store=store,
            broker=backends.broker,
            clock=clock,
            ids=ids,
            alone=backends.alone,
            keep_sent_s=backends.keep_sent_s,
        )
    else:
        host = ServiceHost(
            service,
            settings,
            store=store,
            broker=backends.broker,
            clock=clock,
            ids=ids,
            alone=backends.alone,
            keep_sent_s=backends.keep_sent_s,
        )
    # All queues of the choreography, also those of other processes: an event that reaches no queue
    # would count as delivered.
    plan = plan_of(choreography)
    listeners = (tracker_of(plan), dead_letters_of(plan.redaction))
    journal = JOURNAL_QUEUE if settings.has_journal else {}
    await backends.broker.open({**choreography.queues(*listeners), **journal})
    stopping = asyncio.create_task(stop.wait())
    try:
        await host.start()
        print(f"{name}: {host.address}", flush=True)
        ends: list[asyncio.Future[Any]] = [stopping, *host.failures]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for failed in host.failures:
            if failed.done():
                failed.result()
    finally:
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        await host.stop()
        await backends.close()
