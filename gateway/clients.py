"""Calls to the services behind the gateway: which instance, what is sent, what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from sagas.web.context import Principal
from sagas.web.problems import Problem, malformed

__all__ = [
    "BadUpstream",
    "Unreachable",
    "UpstreamRequest",
    "UpstreamResponse",
    "UpstreamTimeout",
    "Upstreams",
]

#: An answer of known length up to this is read whole; all else passes through as it comes.
MAX_BUFFERED = 1_024 * 1_024

# aiohttp would add these by itself; an upstream shall see what the client sent, and no more.
_NOT_BY_ITSELF = ("Accept", "Accept-Encoding", "User-Agent", "Content-Type")


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call. ``target`` is the raw path and query; ``limit_s`` the time until its answer.

    Policies may repeat it: nothing in it is used up.
    """

    service: str
    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    limit_s: float
    principal: Principal | None = None


@dataclass(slots=True)
class UpstreamResponse:
    """An answer: its ``body``, or with ``rest`` a stream that is still to be read."""

    status: int
    reason: str
    headers: CIMultiDict[str]
    body: bytes = b""
    rest: aiohttp.ClientResponse | None = None


class BadUpstream(Problem):
    """No answer, or none that is HTTP. Nothing is known about what the call has done."""

    def __init__(self, service: str) -> None:
        super().__init__(502, "bad_upstream", f"The {service} service gave no proper answer.")


class Unreachable(BadUpstream):
    """There was no connection: the call has done nothing."""


class UpstreamTimeout(Problem):
    """The answer took too long. Nothing is known about what the call has done."""

    def __init__(self, service: str, limit_s: float) -> None:
        detail = f"The {service} service did not answer within {limit_s:g} s."
        super().__init__(504, "upstream_timeout", detail)


class Upstreams:
    """The connections to every service; its instances take turns."""

    def __init__(self, urls: Mapping[str, tuple[str, ...]], connect_timeout_s: float) -> None:
        self._urls = dict(urls)
        self._turns = dict.fromkeys(urls, 0)
        # Only connecting has its limit here; the whole call has one as a policy.
        self._timeout = aiohttp.ClientTimeout(total=None, connect=connect_timeout_s)
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready to call (needs the running event loop)."""
        # No limit on connections: policies bound the calls, each service for itself.
        # Idle ones close before a service would close them, amid the next request.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_BY_ITSELF,
            timeout=self._timeout,
        )

    async def close(self) -> None:
        """Let go of every connection."""
        if self._session is not None:
            await self._session.close()

    def instances(self, service: str) -> tuple[str, ...]:
        """The base addresses of a service."""
        return self._urls[service]

    async def call(self, request: UpstreamRequest) -> UpstreamResponse:
        """Ask the instance whose turn it is, or the next that is there. Raises ``BadUpstream``."""
        urls = self._urls[request.service]
        turn = self._turns[request.service]
        self._turns[request.service] = (turn + 1) % len(urls)
        for base in urls[turn:] + urls[:turn]:
            try:
                return await self.send(base, request)
            except Unreachable:
                continue  # any request may be repeated that was never sent
        raise Unreachable(request.service)

    async def send(self, base: str, request: UpstreamRequest) -> UpstreamResponse:
        """Ask this instance. Raises ``BadUpstream``, as ``Unreachable`` when there was no
        connection; never follows a redirect."""
        assert self._session is not None, "open() first"
        try:
            response = await self._session.request(
                request.method,
                URL(base + request.target, encoded=True),
                headers=request.headers,
                data=request.body or None,
                allow_redirects=False,
            )
            answer = UpstreamResponse(
                response.status, response.reason or "", CIMultiDict(response.headers)
            )
            if _is_short(response):
                answer.body = await response.read()
            else:
                answer.rest = response
            return answer
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
            raise Unreachable(request.service) from None
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise BadUpstream(request.service) from None
        except (
            UnicodeError
        ):  # Bytes in a path or header that are no text: not the upstream's fault.
            raise malformed("The path or a header has bytes that are not UTF-8.") from None


def _is_short(response: aiohttp.ClientResponse) -> bool:
    if response.content_type == "text/event-stream":
        return False
    if response.method == "HEAD" or response.status in (204, 304):
        return True
    length = response.content_length
    return length is not None and length <= MAX_BUFFERED
