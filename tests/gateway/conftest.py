"""A gateway on a real socket in front of small services that a test makes up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import fields

import aiohttp
import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.app import create_gateway
from gateway.settings import SERVICE_PORTS, GatewaySettings, UpstreamLimits
from sagas.system import SystemClock
from sagas.web.app import RunningServer, serve
from sagas.web.auth import Principal, Tokens
from sagas.web.health import Check

SECRET = "a secret of at least thirty-two characters"
#: A port that nobody listens on: the discard service's.
NOBODY = "http://127.0.0.1:9"


class CountedIds:
    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def new(self) -> str:
        return f"id-{next(self._numbers)}"

    def random(self) -> float:
        return 0.5


def settings_of(
    upstreams: Mapping[str, tuple[str, ...]], limits: Mapping[str, object]
) -> GatewaySettings:
    """The defaults but for ``limits``; those of upstreams hold for each."""
    names = {each.name for each in fields(UpstreamLimits)}
    each = UpstreamLimits(**{name: limits[name] for name in limits if name in names})  # type: ignore[arg-type]
    others = {name: limits[name] for name in limits if name not in names}
    return GatewaySettings(
        jwt_secret=SECRET,
        port_base=0,
        upstreams=upstreams,
        limits=dict.fromkeys(upstreams, each),
        **others,  # type: ignore[arg-type]
    )


class Edge:
    """What a test says to a running gateway."""

    def __init__(self, server: RunningServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    async def ask(
        self, method: str, path: str, **options: object
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self.session.request(
            method,
            self.url(path),
            allow_redirects=False,
            **options,  # type: ignore[arg-type]
        ) as response:
            return response, await response.read()

    async def raw(self, *pieces: bytes) -> bytes:
        """Send bytes, then read until the gateway closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


@pytest.fixture
def token() -> str:
    return Tokens(SECRET, SystemClock()).issue(Principal("c1", "customer"))


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def service(stack: AsyncExitStack) -> Callable[[Handler], Awaitable[str]]:
    """Start a service with one handler for everything; its base address."""

    async def begin(handler: Handler) -> str:
        app = web.Application(client_max_size=10 * 1024 * 1024)
        app.router.add_route("*", "/{tail:.*}", handler)
        options = {"access_log": None, "auto_decompress": False, "handler_cancellation": True}
        runner = web.AppRunner(app, shutdown_timeout=0.2, **options)  # type: ignore[arg-type]
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    return begin


@pytest.fixture
def edge(stack: AsyncExitStack) -> Callable[..., Awaitable[Edge]]:
    """Start a gateway; a service without an address is unreachable."""

    async def begin(
        *,
        checks: dict[str, Check] | None = None,
        limits: dict[str, object] | None = None,
        **urls: object,
    ) -> Edge:
        upstreams = dict.fromkeys(SERVICE_PORTS, (NOBODY,))
        for name, given in urls.items():
            upstreams[name] = (given,) if isinstance(given, str) else tuple(given)  # type: ignore[arg-type]
        settings = settings_of(upstreams, limits or {})
        app = create_gateway(settings, SystemClock(), CountedIds(), checks=checks)
        server = await serve(app, settings.host, settings.port_base)
        stack.push_async_callback(server.stop, 1.0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        return Edge(server, session)

    return begin
