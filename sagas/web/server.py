"""Serving an application: deadlines and errors that aiohttp leaves open, and an orderly stop."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Coroutine
from typing import Any

from aiohttp import http_parser, web
from aiohttp.http_exceptions import LineTooLong

from sagas.ports import Ids
from sagas.web.context import CONTEXT, new_context
from sagas.web.problems import Problem, malformed, problem_of, problem_response
from sagas.web.state import IDS, SETTINGS, STOPPING, WebSettings

__all__ = ["HttpConnection", "RunningServer", "serve"]

BACKLOG = 1_024

log = logging.getLogger(__name__)


class HttpConnection(web.RequestHandler):
    """aiohttp's connection with the deadline for request headers that it has not (3.14.5).

    The clock runs from the connection's start, and for later requests from their first byte. A
    request that arrives in one piece, the usual case, sets no timer.
    """

    __slots__ = ("_arrival_s", "_ids", "_payload", "_since", "_timer", "headers_took_s")

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        settings: WebSettings,
        ids: Ids,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=settings.keepalive_s,
            lingering_time=settings.linger_s,
            access_log=None,  # type: ignore[arg-type]  # how aiohttp spells "none"
            auto_decompress=False,  # a proxy passes on what came; services refuse encodings
        )
        self._arrival_s = settings.arrival_s
        self._ids = ids
        self._timer: asyncio.TimerHandle | None = None
        self._since: float | None = None
        self._payload: Any = None
        #: How much of the deadline the last request's headers used: its body has the rest.
        self.headers_took_s = 0.0

    # ------------------------------------------------------------------------------- deadlines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._timer = self._loop.call_later(self._arrival_s, self._too_slow)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        body = self._payload
        in_body = body is not None and not body.is_eof()
        body_had = body.total_bytes if in_body else 0
        parsed = self._request_count
        super().data_received(data)
        if self._request_count != parsed:  # The headers of at least one request are complete.
            since, self._since = self._since, None
            self.headers_took_s = 0.0 if since is None else self._loop.time() - since
            self._stop_timer()
            self._payload = self._messages[-1][1] if self._messages else None
            begins = self._has_more(data, data.rfind(b"\r\n\r\n") + 4)
        elif in_body:
            begins = self._has_more(data, -body_had)
        else:
            begins = bool(data)
        if begins and self._since is None:
            self._since = self._loop.time()
            self._stop_timer()
            self._timer = self._loop.call_later(self._arrival_s, self._too_slow)

    def _has_more(self, data: bytes, before_body: int) -> bool:
        """Is there, behind the end of a request in ``data``, the beginning of the next?

        The parser does not say; it is what neither headers nor body account for. (Framing of a
        chunked body is neither, but such a body ends with an empty line, as headers do.)
        """
        body = self._payload
        if body is None or not body.is_eof() or data.endswith(b"\r\n\r\n"):
            return False
        return len(data) > before_body + int(body.total_bytes)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if self._request_in_progress or self._messages:
            self.close()  # An earlier request is under way here: it may finish.
            return
        if self._since is not None and self.transport is not None:
            self.transport.write(self._timed_out())
        self.force_close()

    def _timed_out(self) -> bytes:
        detail = f"The request did not arrive within {self._arrival_s:g} s."
        request_id = self._ids.new()
        body = Problem(408, "request_timeout", detail).body("/", request_id)
        head = (
            "HTTP/1.1 408 Request Timeout\r\n"
            "Content-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\n"
            "X-Content-Type-Options: nosniff\r\n"
            f"X-Request-Id: {request_id}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode() + body

    # ---------------------------------------------------------------------------------- errors

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp answers by itself, when it cannot parse or a middleware failed."""
        request[CONTEXT] = context = new_context(None, None, self._ids)
        if request.writer.output_size > 0:
            if not isinstance(exc, ConnectionError):  # Readers come and go; that is no fault.
                log.error("request %s failed amid its answer", context.request_id, exc_info=exc)
            raise ConnectionError("the answer has begun; only closing tells that it is broken")
        if status >= 500:
            fault = exc if isinstance(exc, Exception) else RuntimeError(message)
            problem = problem_of(fault, request_id=context.request_id)
        elif isinstance(exc, LineTooLong):
            problem = Problem(431, "headers_too_large", "A line of the request is too long.")
        else:
            problem = malformed("This is not a valid HTTP request.")
        problem.close = True
        answer = problem_response(problem, request, _Bare)
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["X-Request-Id"] = context.request_id
        return answer

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        # A refused Expect header is answered before any middleware runs.
        if isinstance(resp, web.HTTPException):
            resp = problem_response(problem_of(resp), request)
        if resp.status == 408:
            self._lingering_time = 0.0  # Its time is over; no use in waiting for the rest.
        return super().finish_response(request, resp, start_time)


class _Bare(web.Response):
    """Without the Server header, which aiohttp adds where no signal of ours is sent."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        del self.headers["Server"]


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

    def connect() -> HttpConnection:
        return HttpConnection(server, loop=loop, settings=settings, ids=app[IDS])

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
