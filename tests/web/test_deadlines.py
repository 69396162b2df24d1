"""How long the caller waits: the handler stops then, and what it had done by then stays done."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from sagas.testing.memory import MemoryDatabase
from sagas.web.body import json_response
from sagas.web.context import operation_id
from sagas.web.idempotency import Idempotency


class Worker:
    """Works until it is let go, and knows whether it was stopped."""

    def __init__(self):
        self.begun = 0
        self.stopped = asyncio.Event()
        self.go_on = asyncio.Event()

    async def work(self, _request):
        self.begun += 1
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        return json_response({})


@pytest.fixture
def worker():
    return Worker()


@pytest.fixture
async def host(start, worker):
    return await start(web.get("/work", worker.work))


async def ask(host, ms, path="/work", method="GET", **headers):
    headers = {"X-Request-Timeout-Ms": ms, **headers}
    response, body = await host.ask(method, path, headers=headers)
    return response.status, json.loads(body)


async def test_past_the_callers_time_the_work_stops(host, worker):
    status, body = await ask(host, "50")
    assert (status, body["code"]) == (504, "upstream_timeout")
    assert body["detail"] == "The request was not answered within the caller's 0.05 s."
    assert worker.stopped.is_set()


async def test_in_time_nothing_is_different(host, worker):
    worker.go_on.set()
    assert await ask(host, "5000") == (200, {})


async def test_when_no_time_is_left_it_is_not_begun(host, worker):
    status, body = await ask(host, "0")
    assert (status, body["code"], worker.begun) == (504, "upstream_timeout", 0)


@pytest.mark.parametrize("nonsense", ["", "soon", "-1", "1.5", "1e3", "²", "9" * 10, "1 s"])
async def test_a_time_that_is_none_is_ignored(host, worker, nonsense):
    worker.go_on.set()
    assert await ask(host, nonsense) == (200, {})


async def test_a_stream_that_began_in_time_goes_on(start):
    go_on = asyncio.Event()

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"begun")
        await go_on.wait()
        await response.write(b", ended")
        return response

    host = await start(web.get("/stream", stream))
    headers = {"X-Request-Timeout-Ms": "50"}
    async with host.session.get(host.url("/stream"), headers=headers) as response:
        assert await response.content.readexactly(5) == b"begun"
        await asyncio.sleep(0.1)
        go_on.set()
        assert await response.content.read() == b", ended"


async def test_the_handlers_own_timeouts_are_its_own(start):
    async def impatient(_request):
        raise TimeoutError

    host = await start(web.get("/work", impatient))
    status, body = await ask(host, "5000")
    assert (status, body["code"]) == (500, "internal_error")


async def test_work_that_was_stopped_is_finished_by_its_repeat(start, clock, ids, as_caller):
    """Cut off right after its write, as if the process had died there."""
    store = MemoryDatabase().store("x")
    await store.open([Idempotency.COLLECTION])
    things = {}
    slow = asyncio.Event()

    async def make(request):
        things[operation_id(request)] = "made"
        await slow.wait()
        return json_response({"id": operation_id(request)}, 201)

    host = await start(web.post("/things", Idempotency(store, clock, ids)(make)))
    headers = as_caller("c1", **{"Idempotency-Key": "k"})
    status, _ = await ask(host, "50", "/things", "POST", **headers)
    assert (status, len(things)) == (504, 1)
    slow.set()
    status, body = await ask(host, "5000", "/things", "POST", **headers)
    assert (status, [body["id"]]) == (201, list(things))
