"""``python -m gateway``: the edge in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from gateway.app import create_gateway
from gateway.settings import GatewaySettings, load_settings
from sagas.errors import SettingError
from sagas.logs import set_up_logging
from sagas.system import SystemClock, SystemIds, allow_many_files, collect_rarely
from sagas.web.app import serve


async def run(settings: GatewaySettings) -> None:
    """Serve until Ctrl-C or SIGTERM; requests under way then finish."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    app = create_gateway(settings, SystemClock(), SystemIds())
    server = await serve(app, settings.host, settings.port_base)
    print(f"gateway: http://{server.host}:{server.port}", flush=True)
    await stop.wait()
    await server.stop()


def main() -> int:
    """0 after an orderly stop, 2 for a wrong setting, 1 when the port is taken."""
    try:
        settings = load_settings(os.environ, sys.argv[1:])
    except SettingError as error:
        print(error, file=sys.stderr)
        return 2
    set_up_logging(requests=settings.request_log == "stdout")
    try:
        allow_many_files()
        collect_rarely()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings))
    except OSError as error:
        print(f"gateway: cannot listen: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
