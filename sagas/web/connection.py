"""One connection: deadlines, limits and errors that aiohttp leaves open."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong

from sagas.ports import Ids
from sagas.web.context import CONTEXT, new_context
from sagas.web.framing import SAFE, headers_too_large
from sagas.web.problems import Problem, malformed, overloaded, problem_of, problem_response
from sagas.web.state import WebSettings

__all__ = ["Gate", "HttpConnection"]

#: Bytes of a body that wait for whoever reads it: what is refused unread must not gather.
READ_AHEAD = 16 * 1_024

log = logging.getLogger(__name__)


class Gate:
    """How many connections there are at once: all together, and of each client; and how much waits
    in them for the readers of each client."""

    def __init__(self, settings: WebSettings) -> None:
        self._most = settings.connections
        self._most_each = settings.connections_each
        self._counted_as = settings.counted_as
        self._open = 0
        self._of: dict[str, int] = {}
        self._most_unsent = settings.unsent_each_bytes
        self._unsent: dict[str, int] = {}

    def enter(self, address: str) -> str:
        """One more of this address; ``leave`` with the name that it is counted under.

        Raises the problem to tell when it would be one too many.
        """
        if self._most and self._open >= self._most:
            raise overloaded("Too many connections are open here.", 5)
        name = self._counted_as(address) if self._most_each else ""
        if name:
            mine = self._of.get(name, 0)
            if mine >= self._most_each:
                detail = "Too many connections from this address are open at once."
                raise Problem(429, "rate_limited", detail, headers={"Retry-After": "5"})
            self._of[name] = mine + 1
        self._open += 1
        return name

    def leave(self, name: str) -> None:
        """One less; a client without any is forgotten."""
        self._open -= 1
        if name:
            self._of[name] -= 1
            if not self._of[name]:
                del self._of[name]

    def hold(self, name: str, size: int) -> bool:
        """So many bytes wait for a reader, or (negative) no longer do; whether they may."""
        if not name or not self._most_unsent:
            return True
        held = self._unsent.get(name, 0) + size
        if held:
            self._unsent[name] = held
        else:
            self._unsent.pop(name, None)
        return held <= self._most_unsent


class HttpConnection(web.RequestHandler):
    """aiohttp's connection with what it has not (3.14.5): a deadline for a request's headers, a
    limit for all of them together, and an end for readers who take nothing.

    The clock runs from the connection's start, and for later requests from their first byte. A
    request that arrives in one piece, the usual case, sets no timer.
    """

    __slots__ = (
        "_counted",
        "_gate",
        "_head_bytes",
        "_ids",
        "_payload",
        "_reader_timer",
        "_settings",
        "_since",
        "_timer",
        "_unsent",
        "_wire",
        "headers_took_s",
    )

    def __init__(
        self,
        server: web.Server,
        *,
        loop: asyncio.AbstractEventLoop,
        settings: WebSettings,
        ids: Ids,
        gate: Gate,
    ) -> None:
        super().__init__(
            server,
            loop=loop,
            keepalive_timeout=settings.keepalive_s,
            lingering_time=settings.linger_s,
            access_log=None,  # type: ignore[arg-type]  # how aiohttp spells "none"
            auto_decompress=False,  # a proxy passes on what came; services refuse encodings
            max_headers=settings.header_count,
            read_bufsize=READ_AHEAD,
        )
        self._settings = settings
        self._ids = ids
        self._gate = gate
        #: The name it is counted under; ``None`` when it was not let in, or has left.
        self._counted: str | None = None
        #: aiohttp forgets its transport when it closes, whether what was written has left or not.
        self._wire: asyncio.Transport | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        #: Counted at the gate when the transport said that it had enough; it may be less by now.
        self._unsent = 0
        self._head_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._since: float | None = None
        self._payload: Any = None
        #: How much of the deadline the last request's headers used: its body has the rest.
        self.headers_took_s = 0.0

    # ------------------------------------------------------------------------------- deadlines

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport = cast(asyncio.Transport, transport)  # uvloop's is none by class
        peer = transport.get_extra_info("peername")
        try:
            self._counted = self._gate.enter(str(peer[0]) if peer else "")
        except Problem as problem:  # Nothing of aiohttp's has begun: it never hears of this one.
            transport.write(self._said(problem))
            transport.close()
            self._must_be_read()
            return
        super().connection_made(transport)
        self._timer = self._loop.call_later(self._settings.arrival_s, self._too_slow)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._stop_timer()
        self._wire = None
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None
        if self._counted is not None:
            self._release()
            self._gate.leave(self._counted)
            self._counted = None
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._counted is None:
            return
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
            self._head_bytes = 0
            begins = self._has_more(data, data.rfind(b"\r\n\r\n") + 4)
        elif in_body:
            begins = self._has_more(data, -body_had)
        else:
            begins = bool(data)
            self._head_bytes += len(data)
            if self._head_bytes > self._settings.header_limit_bytes:
                return self._give_up(headers_too_large())
        if begins and self._since is None:
            self._since = self._loop.time()
            if self._timer is None:  # else it is the first request: its clock runs already
                self._timer = self._loop.call_later(self._settings.arrival_s, self._too_slow)

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
        detail = f"The request did not arrive within {self._settings.arrival_s:g} s."
        self._give_up(None if self._since is None else Problem(408, "request_timeout", detail))

    def _give_up(self, problem: Problem | None) -> None:
        """Close instead of reading on; ``problem`` tells why, if there is a request to answer."""
        self._stop_timer()
        if self._request_in_progress or self._messages:
            self.close()  # An earlier request is under way here: it may finish.
            return
        if problem is not None and self.transport is not None:
            self.transport.write(self._said(problem))
        self.force_close()

    def _said(self, problem: Problem) -> bytes:
        """The whole answer, where aiohttp gives none."""
        request_id = self._ids.new()
        body = problem.body("/", request_id)
        lines = [
            f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}",
            "Content-Type: application/problem+json",
            f"Content-Length: {len(body)}",
            f"X-Request-Id: {request_id}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in {**SAFE, **problem.headers}.items()),
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body

    # --------------------------------------------------------------------------------- readers

    def pause_writing(self) -> None:
        super().pause_writing()
        self._must_be_read()
        if self._wire is not None and self._counted is not None:
            self._unsent = self._wire.get_write_buffer_size()
            if not self._gate.hold(self._counted, self._unsent):
                self._wire.abort()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._release()
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def force_close(self) -> None:
        super().force_close()
        self._must_be_read()

    async def start(self) -> None:
        await super().start()
        self._must_be_read()  # It is closing; the last of the answer may still be here.

    def _release(self) -> None:
        if self._unsent and self._counted is not None:
            self._gate.hold(self._counted, -self._unsent)
        self._unsent = 0

    def _must_be_read(self) -> None:
        """From now on: who takes nothing of what was written is gone."""
        if self._wire is not None and self._reader_timer is None:
            self._reader_timer = self._loop.call_later(self._settings.reader_s, self._wire.abort)

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
        elif isinstance(exc, LineTooLong) or _has_too_many(exc):
            problem = headers_too_large()
        else:
            problem = malformed("This is not a valid HTTP request.")
        problem.close = True
        answer = problem_response(problem, request, _Bare)
        answer.headers.update(SAFE)
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


def _has_too_many(error: BaseException | None) -> bool:
    # aiohttp has no class of its own for it.
    return isinstance(error, HttpProcessingError) and "Too many headers" in error.message


class _Bare(web.Response):
    """Without the Server header, which aiohttp adds where no signal of ours is sent."""

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        del self.headers["Server"]
