"""Health, metrics and event streams."""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

from sagas.errors import StoreUnavailable
from sagas.web.app import WebSettings, make_app
from sagas.web.body import json_response
from sagas.web.health import Check, Degraded, add_health
from sagas.web.metrics import Metrics
from sagas.web.sse import event_stream
from sagas.web.state import OPENED


async def fine():
    return None


def failing(error):
    async def probe():
        raise error

    return probe


async def things(request):
    return json_response([])


async def hangs():
    await asyncio.Event().wait()


@pytest.fixture
def health(start, ids):
    async def begin(**checks):
        metrics = Metrics()
        app = make_app(ids, metrics=metrics)
        add_health(app, checks, metrics)
        return await start(app=app)

    return begin


async def ready(host):
    response, body = await host.ask("GET", "/health/ready")
    return response.status, json.loads(body)


async def test_all_well_is_ready(health):
    host = await health(store=Check(fine), broker=Check(fine, required=False))
    assert await ready(host) == (
        200,
        {"status": "ready", "checks": {"store": "ok", "broker": "ok"}},
    )
    response, _ = await host.ask("GET", "/health/live")
    assert response.status == 200


async def test_until_all_is_open_only_health_and_metrics_answer(start, ids):
    metrics = Metrics()
    app = make_app(ids, metrics=metrics)
    add_health(app, {}, metrics)
    app.router.add_get("/api/things", things)
    app[OPENED].clear()
    host = await start(app=app)
    response, body = await host.ask("GET", "/api/things")
    assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert json.loads(body)["code"] == "unavailable"
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert (await host.ask("GET", path))[0].status == 200
    app[OPENED].set()
    assert (await host.ask("GET", "/api/things"))[0].status == 200


async def test_a_lost_broker_degrades(health):
    broker = Check(failing(StoreUnavailable("refused at :5672")), required=False)
    host = await health(store=Check(fine), broker=broker)
    status, body = await ready(host)
    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"] == {"store": "ok", "broker": "down: refused at :5672"}


async def test_a_lost_store_is_unavailable_and_the_process_still_lives(health):
    host = await health(store=Check(failing(OSError("/secret/path"))), broker=Check(fine))
    status, body = await ready(host)
    assert (status, body["status"]) == (503, "unavailable")
    assert body["checks"]["store"] == "down: OSError"
    response, _ = await host.ask("GET", "/health/live")
    assert response.status == 200


async def test_a_probe_that_hangs_or_limps_is_told_apart(health):
    host = await health(
        slow=Check(hangs, required=False, limit_s=0.01), limps=Check(failing(Degraded("slowly")))
    )
    status, body = await ready(host)
    assert (status, body["status"]) == (200, "degraded")
    assert body["checks"] == {"slow": "down: no answer within 0.01 s", "limps": "degraded: slowly"}


async def test_requests_are_counted_by_route_method_and_status(start, ids):
    async def thing(_request):
        return web.Response(text="x")

    metrics = Metrics()
    app = make_app(ids, metrics=metrics)
    add_health(app, {}, metrics)
    host = await start(web.get("/things/{id}", thing), app=app)
    for number in range(3):
        await host.ask("GET", f"/things/{number}")
    await host.ask("DELETE", "/things/1")
    await host.ask("GET", "/nowhere/1")
    response, body = await host.ask("GET", "/metrics")
    text = body.decode()
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'http_requests_total{route="/things/{id}",method="GET",status="200"} 3' in text
    assert 'http_requests_total{route="unmatched",method="DELETE",status="405"} 1' in text
    assert 'http_requests_total{route="unmatched",method="GET",status="404"} 1' in text
    assert 'http_request_seconds_count{route="/things/{id}"} 3' in text
    assert 'http_request_seconds_bucket{route="/things/{id}",le="+Inf"} 3' in text


def test_labels_are_escaped_and_their_number_is_bounded(monkeypatch):
    monkeypatch.setattr("sagas.web.metrics.MAX_SERIES", 2)
    metrics = Metrics()
    odd = metrics.counter("odd_total", "Odd\nthings.", ("name",))
    for name in ('a"b\\c\nd', "b", "c", "d"):
        odd.add(name)
    metrics.gauge("depth", "How deep.", lambda: {("x",): 1.5}, ("queue",))
    metrics.gauge("plain", "Just so.", lambda: 3)
    metrics.tally("kept_total", "Kept elsewhere.", lambda: {("x",): 2}, ("code",))
    text = metrics.render()
    assert 'odd_total{name="a\\"b\\\\c\\nd"} 1' in text
    assert 'odd_total{name="other"} 2' in text
    assert "# HELP odd_total Odd\\nthings.\n# TYPE odd_total counter" in text
    assert 'depth{queue="x"} 1.5' in text
    assert "\nplain 3\n" in text
    assert '# TYPE kept_total counter\nkept_total{code="x"} 2' in text
    with pytest.raises(ValueError, match="exists"):
        metrics.counter("plain", "Again.")


def test_a_histogram_counts_below_each_bound():
    metrics = Metrics()
    took = metrics.histogram("took_seconds", "Time.", bounds=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7):
        took.observe(value)
    lines = metrics.render().splitlines()
    assert 'took_seconds_bucket{le="0.1"} 2' in lines
    assert 'took_seconds_bucket{le="1"} 3' in lines
    assert 'took_seconds_bucket{le="+Inf"} 4' in lines
    assert "took_seconds_count 4" in lines
    assert "took_seconds_sum 7.65" in lines


class Feed:
    """Events that a test hands out one by one."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.closed = asyncio.Event()

    async def events(self):
        try:
            while (event := await self.queue.get()) is not None:
                yield event
        finally:
            self.closed.set()


@pytest.fixture
def feed():
    return Feed()


@pytest.fixture
def stream(start, feed):
    async def begin(heartbeat_s=15.0, **limits):
        async def live(request):
            return await event_stream(request, feed.events(), heartbeat_s=heartbeat_s)

        return await start(web.get("/events", live), **limits)

    return begin


async def test_each_event_is_sent_as_it_happens_until_the_end(stream, feed):
    host = await stream()
    async with host.session.get(host.url("/events")) as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Request-Id" in response.headers
        assert "Server" not in response.headers
        feed.queue.put_nowait(("1", "Begun", b'{"a":1}'))
        assert (
            await response.content.readuntil(b"\n\n") == b'id: 1\nevent: Begun\ndata: {"a":1}\n\n'
        )
        feed.queue.put_nowait(("2\nx", "Ended", "two\nlines"))
        told = await response.content.readuntil(b"\n\n")
        assert told == b"id: 2 x\nevent: Ended\ndata: two\ndata: lines\n\n"
        feed.queue.put_nowait(None)
        assert await response.content.read() == b""
    await feed.closed.wait()


async def test_a_silent_stream_shows_that_it_lives(stream, feed):
    host = await stream(heartbeat_s=0.01)
    async with host.session.get(host.url("/events")) as response:
        assert (await response.content.readuntil(b"\n\n")).startswith(b":")


async def test_a_reader_who_leaves_frees_the_stream(stream, feed):
    host = await stream(heartbeat_s=0.01, max_streams=1)
    async with host.session.get(host.url("/events")) as response:
        await response.content.readuntil(b"\n\n")
        busy, body = await host.ask("GET", "/events")
        assert (busy.status, json.loads(body)["code"]) == (503, "overloaded")
        assert "Retry-After" in busy.headers
        feed.closed.clear()
        response.close()
    async with asyncio.timeout(5):
        await feed.closed.wait()


async def test_streams_end_when_the_server_stops(stream, feed):
    host = await stream()
    async with host.session.get(host.url("/events")) as response:
        stopping = asyncio.ensure_future(host.server.stop(5))
        async with asyncio.timeout(2):
            assert await response.content.read() == b""
            await stopping
    assert feed.closed.is_set()


async def test_a_fault_amid_a_stream_breaks_the_connection(start, feed):
    async def broken(request):
        async def events():
            yield ("1", "Begun", "{}")
            raise KeyError("secret")

        return await event_stream(request, events())

    host = await start(web.get("/events", broken))
    answer = await host.raw(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"event: Begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")
    assert b"secret" not in answer


def test_the_limits_have_the_documented_defaults():
    assert WebSettings().body_limit_bytes == 65_536
    # Within 10 s everything has arrived, or the connection is closed: that takes a moment, too.
    assert 9.0 <= WebSettings().arrival_s < 10.0
