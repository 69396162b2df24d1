"""HTTP to the instances of the services: what is sent, and what comes back."""

from __future__ import annotations

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from gateway.calls import (
    BadUpstream,
    ConnectTimeout,
    Unreachable,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
)
from gateway.settings import GatewaySettings
from sagas.web.deadline import TIMEOUT_MS
from sagas.web.problems import malformed

__all__ = ["Transport"]

#: Of a stream no more is read ahead of its reader.
STREAM_BUFFER = 16 * 1_024

# aiohttp would add these by itself; an upstream shall see what the client sent, and no more.
_NOT_BY_ITSELF = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


class _Dropped(aiohttp.ClientConnectionError):
    """The connection broke. See ``_once``."""


async def _once(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Send a request once: aiohttp (3.14.5) by itself repeats idempotent ones on a lost connection,
    fresh ones included, which would double the load on a service that drops its connections."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise _Dropped(str(error)) from error


class Transport:
    """The connections to every instance of every service."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready to call (needs the running event loop)."""
        # No limit on connections: bulkheads bound the calls, each service for itself.
        # Idle ones close before a service would close them, amid the next request.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_BY_ITSELF,
            middlewares=(_once,),
        )

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()

    async def send(self, base: str, request: UpstreamRequest) -> UpstreamResponse:
        """Ask the instance at ``base``, once; never follows a redirect.

        Raises ``BadUpstream`` or ``UpstreamTimeout``, as ``Unreachable`` or ``ConnectTimeout`` when
        there was no connection. The deadline is the caller's to keep; the service is told of it.
        """
        assert self._session is not None, "open() first"
        limits = self._settings.limits_of(request.service)
        headers = request.headers.copy()
        headers[TIMEOUT_MS] = str(max(1, int(request.left_s * 1_000)))
        try:
            response = await self._session.request(
                request.method,
                URL(base + request.target, encoded=True),
                headers=headers,
                data=request.body or None,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    connect=limits.connect_timeout_s,
                    sock_read=request.silence_s or limits.read_timeout_s,
                ),
                read_bufsize=STREAM_BUFFER,
            )
            return await self._receive(response)
        except aiohttp.ClientConnectorError:
            raise Unreachable(request.service) from None
        except aiohttp.ConnectionTimeoutError:
            raise ConnectTimeout(request.service) from None
        except TimeoutError:
            raise UpstreamTimeout(request.service) from None
        except (aiohttp.ClientError, OSError):
            raise BadUpstream(request.service) from None
        except UnicodeError:
            # Bytes in a path or header that are no text: not the upstream's fault.
            raise malformed("The path or a header has bytes that are not UTF-8.") from None

    async def _receive(self, response: aiohttp.ClientResponse) -> UpstreamResponse:
        """Short answers are read here, so that they are whole or fail with a proper problem; event
        streams, and what is long, pass through as they come."""
        headers = CIMultiDict(response.headers)
        answer = UpstreamResponse(response.status, response.reason or "", headers)
        length, most = response.content_length, self._settings.buffered_bytes
        if response.method == "HEAD" or response.status in (204, 304):
            answer.body = await response.read()
        elif response.content_type == "text/event-stream":
            answer.rest = response
        elif length is not None and length <= most:
            answer.body = await response.read()
        else:
            await _read_some(response, answer, most)
        return answer


async def _read_some(response: aiohttp.ClientResponse, answer: UpstreamResponse, most: int) -> None:
    """All of it, or, when it is long, its beginning."""
    pieces, size = [], 0
    try:
        async for piece in response.content.iter_any():
            pieces.append(piece)
            size += len(piece)
            if size > most:
                answer.rest = response
                break
    except BaseException:
        response.close()
        raise
    answer.body = b"".join(pieces)
