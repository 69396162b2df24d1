"""What surrounds every message: framing that nobody can read in two ways, and safe headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from aiohttp import web
from multidict import CIMultiDict

from sagas.web.problems import Problem, malformed
from sagas.web.state import WebSettings

__all__ = ["SAFE", "check_framing", "headers_too_large", "make_safe"]

#: On every answer, unless its handler knows better. What is no web page needs none of what a page
#: may do; ``X-Frame-Options`` is for browsers that do not know ``frame-ancestors``.
SAFE: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
#: A page says itself what it loads.
_PAGE_POLICY = "base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

_HOST = re.compile(r"[A-Za-z0-9._~%\[\]:-]{1,255}")


def check_framing(request: web.BaseRequest, settings: WebSettings) -> None:
    """Refuse what the next implementation of HTTP might read otherwise (RFC 9112, section 11.2).

    aiohttp's parser has refused most of it by now: both lengths at once, or two; line folds, bare
    line ends, NUL, and numbers that are none. This is what it lets pass. Each closes.
    """
    headers = request.headers
    encoding = headers.get("Transfer-Encoding")
    if encoding is not None and encoding.lower() != "chunked":
        raise _refused("Transfer-Encoding can only be chunked.")
    # Many a gateway writes _ for -, and reads another length than we do.
    if "Transfer_Encoding" in headers or "Content_Length" in headers:
        raise _refused("A header is spelt like one that frames the body.")
    host = headers.get("Host")
    if host is not None and not _HOST.fullmatch(host):
        raise _refused("Host is no host.")
    if request.method == "CONNECT":  # What follows would be no request.
        raise Problem(501, "not_implemented", "This is no tunnel.", close=True)
    if sum([len(name) + len(value) for name, value in request.raw_headers]) > (
        settings.header_limit_bytes
    ):
        raise headers_too_large()


def headers_too_large() -> Problem:
    """431. Closes."""
    detail = "The headers of the request are too long, or too many."
    return Problem(431, "headers_too_large", detail, close=True)


def make_safe(headers: CIMultiDict[str], content_type: str) -> None:
    """Add to an answer's headers what keeps browsers and caches from misusing it."""
    headers.popall("Server", None)
    if content_type == "text/html":
        headers.setdefault("Content-Security-Policy", _PAGE_POLICY)
    if "ETag" in headers:  # It may be kept by whom it was for, and asked about.
        headers.setdefault("Cache-Control", "private, no-cache")
    for name, value in SAFE.items():
        headers.setdefault(name, value)


def _refused(detail: str) -> Problem:
    problem = malformed(detail)
    problem.close = True
    return problem
