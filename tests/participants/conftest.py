"""One service on a real socket: its routes, its runner, everything kept in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import BaseModel

from participants.service import Service, ServiceContext
from participants.settings import ShopSettings
from sagas import Reply, Runner
from sagas.brokers.embedded import EmbeddedBroker
from sagas.intake import topics_of
from sagas.ports import Store
from sagas.system import SystemIds
from sagas.testing.harness import RecordingBroker
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import VirtualClock
from sagas.web.app import WebSettings, make_app
from sagas.web.auth import Principal, Tokens
from sagas.web.idempotency import Idempotency

E = TypeVar("E", bound=BaseModel)

SECRET = "a secret of at least thirty-two characters"


@dataclass(frozen=True)
class Answer:
    """What came back. ``headers`` know no case."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        return orjson.loads(self.raw)

    @property
    def code(self) -> str:
        """The problem's stable word."""
        return str(self.body["code"])


class ServedService:
    """What a test talks to. Time moves on by ``clock.skew_s``."""

    def __init__(
        self,
        context: ServiceContext,
        client: TestClient[Any, Any],
        *,
        clock: VirtualClock,
        store: Store,
        broker: RecordingBroker,
    ) -> None:
        self.context = context
        self.runner = context.runner
        self.tokens = context.tokens
        self.clock = clock
        self.store = store
        self.broker = broker
        self._client = client

    async def __call__(
        self,
        method: str,
        path: str,
        json: object = None,
        *,
        caller: Principal | str | None = None,
        **headers: str,
    ) -> Answer:
        """Send a request. ``caller``: whose token, or a token; ``If_Match="…"`` is a header."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if caller is not None:
            token = caller if isinstance(caller, str) else self.tokens.issue(caller)
            sent["Authorization"] = f"Bearer {token}"
        async with self._client.request(method, path, json=json, headers=sent) as response:
            return Answer(response.status, response.headers.copy(), await response.read())

    async def announced(self, cls: type[E], count: int) -> list[E]:
        """The first ``count`` events of this class, once they have been published."""

        async def enough() -> bool:
            return len(self._published(cls)) >= count

        await self.until(enough)
        return self._published(cls)

    def _published(self, cls: type[E]) -> list[E]:
        events = (each.event for each in self.broker.messages.values())
        return [event for event in events if isinstance(event, cls)]

    def hold_until_all_have_read(self, monkeypatch: pytest.MonkeyPatch, callers: int) -> None:
        """The first command of each of so many callers is decided once all have read."""
        execute, everybody = self.runner.execute, asyncio.Barrier(callers)
        arrived = 0

        async def together(*args: Any, **more: Any) -> Reply:
            nonlocal arrived
            arrived += 1
            if arrived <= callers:
                await everybody.wait()
            return await execute(*args, **more)

        monkeypatch.setattr(self.runner, "execute", together)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Let other tasks run until ``condition`` holds."""
        async with asyncio.timeout(30):
            while not await condition():  # noqa: ASYNC110 - any task may bring it about
                await asyncio.sleep(0)


Serve = Callable[..., Awaitable[ServedService]]


@pytest.fixture
async def serve_service() -> AsyncIterator[Serve]:
    """``await serve_service(SERVICE)``; with the same ``database`` it is a restart."""
    async with AsyncExitStack() as stack:

        async def start(
            service: Service,
            *,
            routes: Callable[[ServiceContext], Iterable[web.AbstractRouteDef]] | None = None,
            seed: str = "none",
            database: MemoryDatabase | None = None,
        ) -> ServedService:
            store = (database or MemoryDatabase()).store(service.name)
            broker = RecordingBroker(EmbeddedBroker())
            stack.push_async_callback(broker.close)
            await broker.open({service.name: topics_of(service.participant)})
            clock, ids = VirtualClock(), SystemIds()
            runner = Runner(service.participant, store=store, broker=broker, clock=clock, ids=ids)
            await runner.start()
            stack.push_async_callback(runner.kill)
            await store.open([Idempotency.COLLECTION])
            tokens = Tokens(SECRET, clock)
            context = ServiceContext(
                runner=runner,
                settings=replace(ShopSettings(), seed=seed),
                clock=clock,
                ids=ids,
                tokens=tokens,
                idempotent=Idempotency(store, clock, ids),
            )
            settings = WebSettings(statuses=service.statuses or {})
            app = make_app(ids, tokens=tokens, settings=settings)
            app.add_routes((routes or service.routes)(context))
            client = TestClient(TestServer(app))
            await stack.enter_async_context(client)
            return ServedService(context, client, clock=clock, store=store, broker=broker)

        yield start
