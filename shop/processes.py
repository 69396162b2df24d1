"""``shop run`` on a broker that processes share: each service, the tracker and the gateway in a
process of its own, supervised."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from gateway.settings import SERVICE_PORTS
from participants.settings import ShopSettings
from sagas import SettingError
from sagas.logs import Unhurried
from sagas.system import SystemClock
from shop.opening import shop_url, tell_when_open
from shop.run import with_secrets
from shop.stream import as_environment, stream_programs
from shop.supervisor import Program, Supervisor

__all__ = ["MOST_INSTANCES", "check_ports", "programs", "run_processes"]

MOST_INSTANCES = 8
#: Each set of instances has a block of ports to itself, as if it were a shop of its own.
PORTS = 1 + max(SERVICE_PORTS.values())
EDGE, BEHIND = 0, 1
PORTS_OF_SERVERS = {"mongodb": 27017, "amqp": 5672, "amqps": 5671, "kafka": 9092}
REACHED_WITHIN_S = 2.0


def programs(
    settings: ShopSettings, instances: int, environment: Mapping[str, str]
) -> Sequence[Program]:
    """What to run: every service ``instances`` times, and the gateway in front of them."""
    if settings.port_base + PORTS * instances > 65_536:
        raise SettingError(
            f"SHOP_PORT_BASE={settings.port_base} leaves no room for {instances} instances: "
            f"choose at most {65_536 - PORTS * instances}"
        )
    if instances > 1 and settings.store_url.startswith("sqlite:"):
        raise SettingError(
            f"{instances} instances of a service need a store that they share, and SQLite's file "
            "belongs to one process: choose --store-url mongodb"
        )
    shared = {**environment, **as_environment(settings)}
    found = []
    for name in SERVICE_PORTS:
        for number in range(instances):
            base = settings.port_base + PORTS * number
            found.append(
                Program(
                    name if instances == 1 else f"{name}-{number + 1}",
                    (sys.executable, "-m", f"participants.{name}"),
                    {**shared, "SHOP_PORT_BASE": str(base)},
                    BEHIND,
                )
            )
    if instances > 1:
        addresses = _addresses(settings, instances)
        shared |= {f"SHOP_{name.upper()}_URLS": urls for name, urls in addresses.items()}
    if settings.has_journal:
        journal = (sys.executable, "-m", "participants.journal")
        found += [Program("journal", journal, shared, BEHIND), *stream_programs(settings, shared)]
    return [Program("gateway", (sys.executable, "-m", "gateway"), shared, EDGE), *found]


def _addresses(settings: ShopSettings, instances: int) -> dict[str, str]:
    return {
        name: ",".join(
            shop_url(replace(settings, port_base=settings.port_base + PORTS * number + offset))
            for number in range(instances)
        )
        for name, offset in SERVICE_PORTS.items()
    }


def check_ports(settings: ShopSettings, instances: int) -> None:
    """Raises ``OSError`` when one of the ports is taken: a process would try for ever to get it,
    and whoever has the gateway's would be taken for this shop."""
    for port in range(settings.port_base, settings.port_base + PORTS * instances):
        try:
            socket.create_server((settings.host, port), family=_family(settings.host)).close()
        except OSError as error:
            # A resolver's errors are negative and speak for themselves.
            number = error.errno or 0
            reason = str(os.strerror(number) if number > 0 else error.strerror).lower()
            raise OSError(
                error.errno, f"cannot listen on {settings.host}:{port}: {reason}"
            ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def run_processes(settings: ShopSettings, instances: int) -> int:
    """Run the shop in the foreground until Ctrl-C or SIGTERM; the second one waits for nobody.

    Returns the exit code, as ``Supervisor.run`` does.
    """
    settings = with_secrets(settings)
    told = programs(settings, instances, os.environ)
    check_ports(settings, instances)
    stop = asyncio.Event()
    out = Unhurried(sys.stdout.fileno())
    supervisor = Supervisor(out.add, SystemClock())

    def signalled() -> None:
        if stop.is_set():
            return supervisor.hurry()
        out.add("Stopping …")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signalled)
    for url in (settings.store_url, settings.broker_url, settings.journal_url):
        if (place := await _silent(url)) is not None:
            print(f"Nothing listens at {place} yet: `make services` starts servers.", flush=True)
    opening = asyncio.create_task(tell_when_open(settings, _addresses(settings, instances)))
    try:
        code = await supervisor.run(told, stop)
        out.flush()
        return 1 if out.is_broken and code == 0 else code
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


async def _silent(url: str) -> str | None:
    """Where a server should be and none is, for a hint: the services wait for it, and say so."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or PORTS_OF_SERVERS[parts.scheme]
    except (KeyError, ValueError):
        return None  # a file, or several servers; and what is wrong the services say better
    try:
        async with asyncio.timeout(REACHED_WITHIN_S):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return f"{host}:{port}"
    writer.close()
    return None
