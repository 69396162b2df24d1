"""The circuit breaker: when it opens, who probes, and how it closes again by itself."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from gateway.calls import CircuitOpen, now_s
from sagas.web.problems import malformed
from tests.resilience.world import (
    World,
    absent,
    answer,
    at_rate,
    dropping,
    failing,
    hanging,
    healthy,
    until,
)

ONCE = {"retry_attempts": 1}


def breaker(world, service="order", instance=0):
    return world[service].instances[instance].breaker


async def opened(world):
    """Fail until it opens."""
    world.services["http://order"] = failing
    while breaker(world).state == "closed":
        await world.said("order")


@pytest.mark.parametrize(
    ("service", "said"),
    [(failing, "500"), (dropping, "bad_upstream"), (absent, "bad_upstream")],
)
async def test_it_opens_at_half_of_at_least_twenty_calls(service, said):
    world = World({"order": healthy}, **ONCE)
    for _ in range(10):
        assert await world.said("order") == "200"
    world.services["http://order"] = service
    for _ in range(9):
        assert await world.said("order") == said
    assert breaker(world).state == "closed"
    assert await world.said("order") == said  # the last straw, with its own answer
    assert breaker(world).state == "open"
    with pytest.raises(CircuitOpen) as refused:
        await world.ask("order")
    assert (refused.value.status, refused.value.code) == (503, "circuit_open")
    assert refused.value.headers["Retry-After"] == "5"
    assert world.sent["http://order"] == 20


async def test_timeouts_count():
    world = World({"order": hanging}, **ONCE)
    calls = [world.said("order", within_s=1.0) for _ in range(20)]
    assert set(await asyncio.gather(*calls)) == {"upstream_timeout"}
    assert now_s() == pytest.approx(1.0)
    assert await world.said("order") == "circuit_open"


async def test_a_refusal_of_the_service_does_not_count():
    async def no(_request):
        return answer(409)

    world = World({"order": no}, **ONCE)
    for _ in range(100):
        assert await world.said("order") == "409"
    assert breaker(world).counts == (100, 0.0)


async def test_a_request_that_could_not_be_sent_does_not_count():
    async def unsendable(_request):
        raise malformed("bytes")

    world = World({"order": unsendable}, **ONCE)
    for _ in range(50):
        assert await world.said("order") == "malformed_request"
    assert breaker(world).counts == (0, 0.0)


async def test_failures_in_a_row_are_not_needed():
    turn = 0

    async def every_other(_request):
        nonlocal turn
        turn += 1
        return answer(500 if turn % 2 else 200)

    world = World({"order": every_other}, **ONCE)
    for _ in range(21):
        await world.said("order")
    assert breaker(world).state == "open"


async def test_less_than_half_is_borne():
    turn = 0

    async def every_third(_request):
        nonlocal turn
        turn += 1
        await asyncio.sleep(0.01)
        return answer(500 if turn % 3 == 0 else 200)

    world = World({"order": every_third}, **ONCE)
    for _ in range(1_000):
        await world.said("order")
    assert breaker(world).state == "closed"


async def test_old_failures_are_forgotten():
    world = World({"order": failing}, **ONCE)
    for _ in range(19):
        await world.said("order")
    await asyncio.sleep(10.0)
    for _ in range(19):
        await world.said("order")
    assert breaker(world).state == "closed"
    assert breaker(world).counts == (19, 100.0)


async def test_while_open_nothing_is_sent_and_the_wait_gets_shorter():
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    sent = world.sent["http://order"]
    waits = []
    for _ in range(5):
        with pytest.raises(CircuitOpen) as refused:
            await world.ask("order")
        waits.append(refused.value.headers["Retry-After"])
        await asyncio.sleep(0.999)
    assert waits == ["5", "5", "4", "3", "2"]
    assert world.sent["http://order"] == sent


async def test_exactly_one_of_a_thousand_probes():
    arrived = []

    async def slow(request):
        arrived.append(request)
        await asyncio.sleep(0.5)
        return answer()

    world = World({"order": healthy}, **ONCE)
    await opened(world)
    world.services["http://order"] = slow
    await asyncio.sleep(5.0)
    said = await asyncio.gather(*(world.said("order") for _ in range(1_000)))
    assert len(arrived) == 1
    assert (said.count("200"), said.count("circuit_open")) == (1, 999)
    assert breaker(world).state == "closed"
    assert set(await asyncio.gather(*(world.said("order") for _ in range(100)))) == {"200"}


@pytest.mark.parametrize("ending", ["well", "ill", "never", "abandoned"])
async def test_of_ten_thousand_calls_while_half_open_one_probes_at_a_time(ending):
    """They keep coming for 20 s, and whatever becomes of a probe, no second one is under way."""
    under_way, most, probes = 0, 0, 0

    async def watched(request):
        nonlocal under_way, most, probes
        under_way, probes = under_way + 1, probes + 1
        if breaker(world).state == "half_open":
            most = max(most, under_way)
        try:
            if ending == "never":
                return await hanging(request)
            await asyncio.sleep(0.3)
            return answer(500 if ending == "ill" or probes < 3 else 200)
        finally:
            under_way -= 1

    async def come(number):
        await asyncio.sleep(0.002 * number)
        call = asyncio.ensure_future(world.said("order", within_s=2.0))
        if ending == "abandoned" and probes < 20:  # a client without patience
            await asyncio.wait({call}, timeout=0.1)
            call.cancel()
        return (await asyncio.gather(call, return_exceptions=True))[0]

    world = World({"order": healthy}, upstream_burst=20_000, bulkhead_calls=20_000, **ONCE)
    await opened(world)
    world.services["http://order"] = watched
    await asyncio.sleep(5.0)
    sent = world.sent["http://order"]
    everybody = asyncio.gather(*(come(number) for number in range(10_000)))
    await until(lambda: breaker(world).state == "closed" or everybody.done())
    assert most == 1
    assert probes == world.sent["http://order"] - sent
    assert probes >= 3
    assert breaker(world).state == ("closed" if ending in ("well", "abandoned") else "open")
    assert len(await everybody) == 10_000


async def test_a_probe_that_fails_opens_it_for_the_full_time_again():
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    assert await world.said("order") == "500"
    assert breaker(world).state == "open"
    assert breaker(world).retry_after_s == pytest.approx(5.0)


async def test_a_probe_whose_caller_goes_away_frees_its_place():
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = hanging
    probe = asyncio.ensure_future(world.ask("order"))
    await asyncio.sleep(1.0)
    assert await world.said("order") == "circuit_open"
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    assert breaker(world).state == "half_open"
    world.services["http://order"] = healthy
    assert await world.said("order") == "200"
    assert breaker(world).state == "closed"


async def test_a_probe_that_could_not_be_sent_decides_nothing():
    async def unsendable(_request):
        raise malformed("bytes")

    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = unsendable
    assert await world.said("order") == "malformed_request"
    assert breaker(world).state == "half_open"


async def test_once_closed_it_starts_afresh():
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = healthy
    await world.said("order")
    world.services["http://order"] = failing
    for _ in range(19):
        await world.said("order")
    assert breaker(world).state == "closed"
    await world.said("order")
    assert breaker(world).state == "open"


async def test_a_refusal_of_the_service_closes_it():
    async def no(_request):
        return answer(404)

    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = no
    assert await world.said("order") == "404"
    assert breaker(world).state == "closed"


async def test_calls_from_before_it_opened_change_nothing_when_they_end():
    async def late(_request):
        await asyncio.sleep(4.0)
        return answer(500)

    world = World({"order": late}, **ONCE)
    stragglers = [asyncio.ensure_future(world.said("order")) for _ in range(50)]
    await asyncio.sleep(0.1)
    await opened(world)
    at = now_s()
    await asyncio.gather(*stragglers)
    assert now_s() - at == pytest.approx(3.9)
    assert breaker(world).retry_after_s == pytest.approx(1.1)
    world.services["http://order"] = healthy
    await asyncio.sleep(1.1)
    assert await world.said("order") == "200"
    assert breaker(world).state == "closed"


async def test_stragglers_of_a_hanging_service_do_not_stop_the_probe():
    world = World({"order": hanging}, **ONCE)
    hung = [asyncio.ensure_future(world.said("order", within_s=6.0)) for _ in range(50)]
    await asyncio.sleep(0.1)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = healthy
    assert await world.said("order") == "200"
    assert breaker(world).state == "closed"
    assert set(await asyncio.gather(*hung)) == {"upstream_timeout"}


@pytest.mark.parametrize("years", [-10, 10])
async def test_the_wall_clock_may_jump(monkeypatch, years):
    class Elsewhen(datetime):
        @classmethod
        def utcnow(cls):
            return datetime(2026 + years, 1, 1)

    world = World({"order": healthy}, **ONCE)
    await opened(world)
    monkeypatch.setattr("aiobreaker.state.datetime", Elsewhen)
    await asyncio.sleep(4.9)
    assert await world.said("order") == "circuit_open"
    await asyncio.sleep(0.1)
    world.services["http://order"] = healthy
    assert await world.said("order") == "200"


async def test_an_open_breaker_refuses_at_once_though_the_bulkhead_is_full():
    world = World({"order": healthy}, bulkhead_calls=1, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = hanging
    probe = asyncio.ensure_future(world.said("order"))
    await asyncio.sleep(1.0)
    began = now_s()
    assert await world.said("order") == "circuit_open"
    assert now_s() == began
    assert await probe == "upstream_timeout"


async def test_one_bad_instance_does_not_take_the_others_with_it():
    both = {"order": ("http://good", "http://bad")}
    world = World({"http://good": healthy, "http://bad": failing}, instances=both, **ONCE)
    said = [await world.said("order") for _ in range(200)]
    assert said.count("500") == 20
    assert set(said[40:]) == {"200"}
    assert [each.breaker.state for each in world["order"].instances] == ["closed", "open"]
    await asyncio.sleep(5.0)
    world.services["http://bad"] = healthy
    assert {await world.said("order") for _ in range(10)} == {"200"}
    assert [each.breaker.state for each in world["order"].instances] == ["closed", "closed"]


@pytest.mark.parametrize("mode", [failing, dropping, hanging])
async def test_under_load_it_opens_within_its_window_and_closes_by_itself(mode):
    """A service fails for half a minute and recovers; nobody touches the gateway."""
    world = World({"order": healthy}, **ONCE)

    async def outage():
        await asyncio.sleep(10.0)
        world.services["http://order"] = mode
        began = now_s()
        await until(lambda: breaker(world).state == "open")
        took = now_s() - began
        await asyncio.sleep(30.0 - took)
        world.services["http://order"] = healthy
        await until(lambda: breaker(world).state == "closed")
        return took, now_s() - began - 30.0

    watched = asyncio.ensure_future(outage())
    said = await at_rate(50.0, 60.0, lambda: world.said("order", within_s=2.0))
    opened_after_s, closed_after_s = await watched
    assert opened_after_s < 10.0
    assert closed_after_s < 7.5  # until the next probe, which may hang for its 2 s
    last = [what for what, _ in said[-500:]]
    assert set(last) == {"200"}
    assert {what for what, _ in said} <= {"200", "500", "bad_upstream", "upstream_timeout"} | {
        "circuit_open"
    }


async def test_changes_are_logged_and_metered(caplog):
    world = World({"order": healthy}, **ONCE)
    await opened(world)
    await asyncio.sleep(5.0)
    world.services["http://order"] = healthy
    await world.said("order")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "order at http://order: the breaker was closed and is open",
        "order at http://order: the breaker was open and is half-open",
        "order at http://order: the breaker was half-open and is closed",
    ]
    metrics = world.metrics.render()
    labels = 'upstream="order",instance="http://order"'
    assert f'gateway_breaker_changes_total{{{labels},state="open"}} 1' in metrics
    assert f"gateway_breaker_state{{{labels}}} 0" in metrics
    assert 'gateway_calls_total{upstream="order",outcome="failed"} 20' in metrics
