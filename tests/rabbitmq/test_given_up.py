"""What its consumer dies of, again and again: the net catches it, and it is a dead letter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika import Message
from yarl import URL

from sagas.brokers.rabbitmq_link import Link, Outage
from sagas.brokers.rabbitmq_net import PREFETCH
from tests.rabbitmq import foreign
from tests.rabbitmq.proxy import Proxy
from tests.rabbitmq.server import connected
from tests.rabbitmq.world import Trips, open_trips, until


@pytest.fixture
async def trips(url: URL) -> AsyncIterator[Trips]:
    async with open_trips(url.update_query(delivery_limit=2)) as opened:
        yield opened


async def _die_of_the_next(trips: Trips, name: str) -> bool:
    """Take a message and end without a word; whether there was one."""
    async with connected() as channel:
        queue = await channel.get_queue(f"{trips.name}.{name}")
        return await queue.get(fail=False) is not None


async def test_a_message_that_kills_its_consumer_is_listed_and_can_be_replayed(
    trips: Trips, caplog: pytest.LogCaptureFixture
) -> None:
    await trips.harness.crash("hotel")
    await trips.start("t1")
    for _ in range(3):
        await until(lambda: _die_of_the_next(trips, "hotel"), bool)
    await until(lambda: _is_noted(caplog, "hotel was given up (delivery_limit)"), bool)
    await trips.harness.restart("hotel")

    (letter,) = await trips.dead_letters(participant="hotel")
    assert (letter["saga_id"], letter["type"]) == ("t1", "TripStarted")
    assert "the broker gave it up (delivery_limit)" in letter["detail"]
    await trips.start("t2")
    await trips.reached("t2", "done")  # it holds back its own saga alone
    assert await trips.harness.state("hotel", "t1") is None

    await trips.tracker.replay(letter["dead_letter_id"], by="ops", reason="the hotel is mended")
    await trips.reached("t1", "done")
    (resolved,) = await trips.dead_letters(participant="hotel")
    assert resolved["status"] == "replayed"


async def _is_noted(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text


async def _fell(trips: Trips, message: Message, queue: str, count: int = 1) -> None:
    """As the server puts what it has given up into the net."""
    message.headers["x-first-death-queue"] = f"{trips.name}.{queue}"
    async with connected() as channel:
        net = await channel.get_exchange(f"{trips.name}.dead")
        for _ in range(count):
            await net.publish(message, "")


async def _lie_in(trips: Trips, queue: str) -> int | None:
    async with connected() as channel:
        found = await channel.declare_queue(f"{trips.name}.{queue}", passive=True)
        return found.declaration_result.message_count


async def test_what_fell_from_a_queue_that_is_gone_is_put_aside_and_in_nobodys_way(
    trips: Trips, caplog: pytest.LogCaptureFixture
) -> None:
    many = PREFETCH + 5
    await _fell(trips, Message(b"{}"), "gone", many)
    await _fell(trips, Message(b"no event"), "hotel")
    (letter,) = await trips.dead_letters(participant="hotel")
    assert "is not understood" in letter["detail"]
    await until(lambda: _lie_in(trips, "lost"), lambda count: count == many)
    assert await _lie_in(trips, "dead") == 0
    assert f"there is no queue '{trips.name}.gone' any more" in caplog.text
    await trips.start("t1")
    await trips.reached("t1", "done")


async def test_what_was_put_aside_goes_home_once_it_is_moved_to_the_net_again(
    trips: Trips,
) -> None:
    """By an operator, whom any AMQP client serves: it still says where it fell from."""
    await _fell(trips, Message(b"{}", content_type="application/json"), "gone")
    await until(lambda: _lie_in(trips, "lost"), bool)
    async with connected() as channel:
        gone = await channel.declare_queue(f"{trips.name}.gone", exclusive=True)
        lost = await channel.get_queue(f"{trips.name}.lost")
        moved = await lost.get(no_ack=True)
        assert moved is not None
        net = await channel.get_exchange(f"{trips.name}.dead")
        await net.publish(Message(moved.body, headers=moved.headers), "")
        found = await until(lambda: gone.get(fail=False, no_ack=True), bool)
    assert "the broker gave it up" in str(found.headers["sagas-given-up"])


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        (foreign.timestamp(1_700_000_000_000_000), "timestamp 1700000000000000 is too late"),
        (foreign.headers(foreign.field(b"\xff", b"t", b"\1")), "is not UTF-8"),
        # What can be read, but not sent on: the mantissa of a decimal has one bit less then.
        (foreign.headers(foreign.field(b"n", b"D", b"\0\xff\xff\xff\xff")), "not understood"),
    ],
    ids=["microseconds", "key", "decimal"],
)
async def test_properties_that_cannot_be_decoded_break_no_net(
    trips: Trips, caplog: pytest.LogCaptureFixture, properties: bytes, said: str
) -> None:
    origin = f"{trips.name}.hotel".encode()
    fallen = foreign.with_header(
        properties, foreign.field(b"x-first-death-queue", b"S", foreign.long(origin))
    )
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.basic_publish(
            b"{}", exchange=f"{trips.name}.dead", properties=foreign.Properties(fallen)
        )
    (letter,) = await trips.dead_letters(participant="hotel")
    assert said in letter["detail"]
    await until(lambda: _lie_in(trips, "dead"), lambda count: count == 0)
    assert "connection was lost" not in caplog.text


async def test_what_breaks_the_nets_connection_breaks_no_other(
    proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even again and again; and it is tried ever more seldom."""
    async with open_trips(proxy.url) as trips:
        proxy.breaks_of = b"what nobody survives"
        before = proxy.connections
        await _fell(trips, Message(proxy.breaks_of), "hotel")
        await until(lambda: _broke(proxy, before, 3), bool)
        await trips.start("t1")
        await trips.reached("t1", "done")
        for runner in trips.harness.runners.values():
            assert runner.counts.outages == 0
        proxy.breaks_of = None
        await trips.dead_letters(participant="hotel")


async def _broke(proxy: Proxy, before: int, times: int) -> bool:
    return proxy.connections >= before + times


async def test_a_connection_that_breaks_as_soon_as_it_is_made_is_made_ever_more_seldom(
    proxy: Proxy,
) -> None:
    async def nothing(_: object) -> None: ...

    link = Link(proxy.url, "publishes", nothing, Outage())
    await link.start()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.timeout(20):
        for _ in range(4):
            lost = await link.soon()
            proxy.cut()
            await until(link.soon, lambda now, lost=lost: now is not lost)
    await link.close()
    assert loop.time() - began > 0.1 + 0.2 + 0.4 + 0.8
