"""``/``: the shop for people. Plain files of this package, and nothing from elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from sagas.web.documents import PAGE_POLICY
from sagas.web.etag import etag_of, not_modified
from sagas.web.operations import page

__all__ = ["FOLDER", "add_page"]

FOLDER: Final = Path(__file__).parent / "page"
#: What stands behind ``/`` itself, and where in it the demo's logins are told.
_FRONT: Final = "index.html"
_LOGINS: Final = ("logins.html", "<!-- logins -->")
_KINDS: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
#: Of text, not even our own script may make elements.
_POLICY: Final = f"{PAGE_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def add_page(app: web.Application, *, tells_logins: bool) -> None:
    """Add the page, and a route for each of its files. ``tells_logins``: those of the demo.

    The files are read here, once; none is asked for by a name that a client makes up.
    """
    files = {file.name: file.read_bytes() for file in FOLDER.iterdir() if file.suffix in _KINDS}
    source, mark = _LOGINS
    logins = files.pop(source)
    front = files.pop(_FRONT).replace(mark.encode(), logins if tells_logins else b"")
    app.router.add_get("/", _shown(front, _KINDS[".html"]))
    for name, content in files.items():
        app.router.add_get(f"/page/{name}", _shown(content, _KINDS[Path(name).suffix]))


def _shown(content: bytes, kind: str) -> Handler:
    tag = hashlib.sha256(content).hexdigest()[:16]
    # Asked for each time and mostly not sent: a new version of the shop is seen at once, whole.
    headers = {"Cache-Control": "no-cache", "ETag": etag_of(tag)}
    if kind == _KINDS[".html"]:
        headers["Content-Security-Policy"] = _POLICY

    @page
    async def shown(request: web.Request) -> web.Response:
        unchanged = not_modified(request, tag)
        if unchanged is not None:
            unchanged.headers.update(headers)
            return unchanged
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=headers)

    return shown
