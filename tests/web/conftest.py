"""An application on a real socket, with time and ids in the test's hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import pytest
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from sagas.web.app import RunningServer, WebSettings, make_app, serve
from sagas.web.auth import Principal, Tokens
from sagas.web.body import json_response, read_json

SECRET = "a secret of at least thirty-two characters"


class HandClock:
    """Time that moves when somebody says so, or sleeps."""

    def __init__(self) -> None:
        self.time = 1_750_000_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0)


class CountedIds:
    """Ids in a row. Each request without an id of its own takes one: so they can be awaited."""

    def __init__(self) -> None:
        self.made = 0
        self.reached = asyncio.Event()
        self.goal = 0

    def new(self) -> str:
        self.made += 1
        if self.made == self.goal:
            self.reached.set()
        return f"id-{self.made}"

    def random(self) -> float:
        return 0.5


class Line(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    sku: str
    quantity: int = Field(ge=1)


class Basket(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    lines: list[Line]


async def echo(request: web.Request) -> web.Response:
    basket = await read_json(request, Basket)
    return json_response(basket, 201, {"Location": "/things/1"})


class Host:
    """What a test says to a running application."""

    def __init__(self, server: RunningServer, session: aiohttp.ClientSession) -> None:
        self.server = server
        self.session = session

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.port}{path}"

    async def ask(
        self, method: str, path: str, **options: object
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        options.setdefault("allow_redirects", False)
        async with self.session.request(method, self.url(path), **options) as response:  # type: ignore[arg-type]
            return response, await response.read()

    async def raw(self, *pieces: bytes) -> bytes:
        """Send bytes, then read until the server closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


StartHost = Callable[..., Awaitable[Host]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def ids() -> CountedIds:
    return CountedIds()


@pytest.fixture
def tokens(clock: HandClock) -> Tokens:
    return Tokens(SECRET, clock)


@pytest.fixture
def as_caller(tokens: Tokens) -> Callable[..., dict[str, str]]:
    def headers(subject: str, role: str = "customer", **more: str) -> dict[str, str]:
        token = tokens.issue(Principal(subject, role))
        return {"Authorization": f"Bearer {token}", **more}

    return headers


@pytest.fixture
async def start(ids: CountedIds, tokens: Tokens) -> AsyncIterator[StartHost]:
    async with AsyncExitStack() as stack:

        async def begin(
            *routes: web.RouteDef, app: web.Application | None = None, **limits: object
        ) -> Host:
            if app is None:
                limits.setdefault("linger_s", 0.05)
                app = make_app(ids, tokens=tokens, settings=WebSettings(**limits))  # type: ignore[arg-type]
            app.add_routes(routes)
            server = await serve(app, "127.0.0.1", 0)
            stack.push_async_callback(server.stop, 1.0)
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(limit=0),
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            )
            return Host(server, session)

        yield begin


async def greet(_request: web.Request) -> web.Response:
    return json_response({"hello": "there"})


@pytest.fixture
def echo_route() -> web.RouteDef:
    """Takes a basket and answers with it."""
    return web.post("/things", echo)


@pytest.fixture
async def shop(start: StartHost, echo_route: web.RouteDef) -> Host:
    return await start(echo_route, web.get("/things/{id}", greet))
