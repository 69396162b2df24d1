"""Serving an application: where it listens, who may connect, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import os

from aiohttp import http_parser, web

from sagas.web.connection import Gate, HttpConnection
from sagas.web.state import IDS, SETTINGS, STOPPING

__all__ = ["RunningServer", "serve"]

BACKLOG = 1_024

log = logging.getLogger(__name__)


class RunningServer:
    """An application that listens. ``port`` is the real one, also when 0 was asked for."""

    def __init__(self, runner: web.AppRunner, listener: asyncio.Server) -> None:
        self._runner = runner
        self._listener = listener
        self.host, self.port = listener.sockets[0].getsockname()[:2]

    def announce_stop(self) -> None:
        """Let those go who only wait (streams, ``Prefer: wait``): they get what there is now."""
        app = self._runner.app
        assert app is not None
        app[STOPPING].set()

    async def stop(self, grace_s: float = 10.0) -> None:
        """Accept nothing more, let requests under way finish for ``grace_s``, then clean up."""
        self._listener.close()
        # aiohttp allows the time twice: to finish, then to notice the cancellation.
        self._runner._shutdown_timeout = grace_s / 2
        await self._runner.cleanup()


async def serve(app: web.Application, host: str, port: int) -> RunningServer:
    """Listen for an application made by ``make_app``. Raises ``OSError`` when the port is taken."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        log.warning("aiohttp has no C parser here: slower, and less strict; install its wheel")
    settings = app[SETTINGS]
    runner = web.AppRunner(app, access_log=None, handler_cancellation=settings.cancel_on_disconnect)
    await runner.setup()
    server = runner.server
    assert server is not None  # set up a line above
    loop = asyncio.get_running_loop()
    gate = Gate(settings)

    def connect() -> HttpConnection:
        return HttpConnection(server, loop=loop, settings=settings, ids=app[IDS], gate=gate)

    try:
        listener = await loop.create_server(connect, host, port, backlog=BACKLOG)
    except OSError as error:
        await runner.cleanup()
        # A resolver's errors are negative and speak for themselves.
        number = error.errno or 0
        reason = os.strerror(number) if number > 0 else error.strerror
        message = f"cannot listen on {host}:{port}: {str(reason).lower()}"
        raise OSError(error.errno, message) from error
    return RunningServer(runner, listener)
