"""``/openapi.json``, and ``/docs``, where people read it: no file of it comes from elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from sagas.web.body import json_response
from sagas.web.openapi import document
from sagas.web.operations import ANYBODY, Operation, described, operations, page
from sagas.web.problems import not_found

__all__ = ["PAGE_POLICY", "add_docs", "add_openapi"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Scripts, styles and requests only from and to this origin; pictures may stand in the style.
PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_ASSETS: Final = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")

_PAGE: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>The API</title>
<link rel="icon" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</html>
"""
# The bundle has Swagger UI 4, which draws 3.0 and refuses the number 3.1; what else is new in 3.1
# it leaves out.
_START: Final = """fetch("/openapi.json").then((answer) => answer.json()).then((spec) => {
  if (!spec.openapi) throw new Error(spec.detail);
  spec.openapi = "3.0.3";
  SwaggerUIBundle({spec, dom_id: "#docs", deepLinking: true, validatorUrl: null});
}).catch((error) => {
  document.getElementById("docs").textContent = "It cannot be shown just now: " + error.message;
});
"""


def add_openapi(app: web.Application, title: str, description: str) -> Callable[[], dict[str, Any]]:
    """Add the route, and the page. The document tells all routes there are when it is first read.

    Returns what makes it. Raises ``LookupError`` for a route that is not described.
    """
    made: list[bytes] = []

    @Operation(
        "GET",
        "/openapi.json",
        "What this process answers to (OpenAPI 3.1)",
        {200: dict[str, Any]},
        who=ANYBODY,
        always=True,
    )
    async def openapi(_request: web.Request) -> web.Response:
        if not made:
            made.append(orjson.dumps(build()))
        return json_response(made[0], headers={"Cache-Control": "no-cache"})

    def build() -> dict[str, Any]:
        return document(title, description, operations(app.router.routes()))

    app.router.add_routes([described(openapi)])
    add_docs(app)
    return build


def add_docs(app: web.Application) -> None:
    """Add the page that shows ``/openapi.json``."""

    @page
    async def shown(_request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": PAGE_POLICY, "Cache-Control": "no-cache"}
        return web.Response(text=_PAGE, content_type="text/html", headers=headers)

    @page
    async def start(_request: web.Request) -> web.Response:
        return web.Response(text=_START, content_type="text/javascript")

    @page
    async def asset(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name not in _ASSETS:
            raise not_found()
        return web.FileResponse(swagger_ui_path / name, headers={"Cache-Control": "no-cache"})

    app.router.add_get("/docs", shown)
    app.router.add_get("/docs/start.js", start)
    app.router.add_get("/docs/{name}", asset)
