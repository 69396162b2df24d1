"""Cross-origin requests of browsers: refused, unless their page's origin is on the list."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ["Cors"]

_METHODS = "GET, POST, PUT, PATCH, DELETE"
_SENT = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer, "
    "X-Request-Id, X-Request-Timeout-Ms, traceparent"
)
_SHOWN = (
    "Age, Cache-Status, ETag, Idempotent-Replayed, Location, Preference-Applied, RateLimit, "
    "RateLimit-Policy, Retry-After, X-Request-Id"
)
MAX_AGE_S = 600


class Cors:
    """The Fetch standard's protocol, for exact origins.

    There is no ``*``, and nothing about credentials: who calls is said by a header that a page has
    to set itself, never by what a browser adds.
    """

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def preflighted(self, handler: Handler) -> Handler:
        """The handler, behind an answer to browsers who ask whether they may."""

        async def ask_first(request: web.Request) -> web.StreamResponse:
            if (
                request.method == "OPTIONS"
                and "Access-Control-Request-Method" in request.headers
                and self._is_allowed(request)
            ):
                allowed = {
                    "Access-Control-Allow-Methods": _METHODS,
                    "Access-Control-Allow-Headers": _SENT,
                    "Access-Control-Max-Age": str(MAX_AGE_S),
                }
                return web.Response(status=204, headers=allowed)
            return await handler(request)

        return ask_first

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Tell a browser that the page may see the answer; a signal for every response."""
        if not self._origins:
            return
        response.headers.add("Vary", "Origin")
        if self._is_allowed(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _SHOWN

    def _is_allowed(self, request: web.Request) -> bool:
        return request.headers.get("Origin", "") in self._origins
