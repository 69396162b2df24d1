"""What a network and a server do to a client that waits: each ends in time, and goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest
from aiormq.abc import TaskWrapper
from yarl import URL

from sagas.brokers import rabbitmq, rabbitmq_consumer, rabbitmq_link
from sagas.brokers.rabbitmq import RabbitBroker
from sagas.brokers.rabbitmq_consumer import Consumer
from sagas.brokers.rabbitmq_link import Link, Outage, broken_is_no_cancel
from sagas.errors import BrokerUnavailable
from sagas.ports import Subscription
from tests.rabbitmq.conftest import QUEUES, event
from tests.rabbitmq.proxy import CONSUME_OK, Proxy

Brokers = Callable[..., RabbitBroker]

#: What has no limit of its own, or not the one it should have, takes longer or hangs.
LIMIT_S = 45.0


async def receive(subscription: Subscription, count: int) -> list[str]:
    """The ids of the next deliveries, acked, however often the connection is lost meanwhile."""
    ids: list[str] = []
    async with asyncio.timeout(LIMIT_S):
        while len(ids) < count:
            try:
                deliveries = await subscription.next(count - len(ids))
            except BrokerUnavailable:
                continue
            subscription.ack(deliveries)
            ids += [each.message.id for each in deliveries if each.message is not None]
    return ids


async def published(broker: RabbitBroker, id: str) -> None:
    """As the relay does: again and again, until it is taken."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await broker.publish([event(id)])
            except BrokerUnavailable:
                await asyncio.sleep(0.05)


async def test_without_a_server_it_says_so_and_goes_on_once_there_is_one(
    proxy: Proxy, brokers: Brokers
) -> None:
    proxy.refuse()
    broker = brokers(proxy.url)
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 10)
    where = f"RabbitMQ at 127.0.0.1:{proxy.url.port}: .*Connect call failed"
    with pytest.raises(BrokerUnavailable, match=where):
        await broker.ping()
    with pytest.raises(BrokerUnavailable, match=where):
        await broker.publish([event("m1")])
    waiting = asyncio.create_task(subscription.next(1))
    await proxy.listen()
    await published(broker, "m1")
    async with asyncio.timeout(LIMIT_S):
        (delivery,) = await waiting
    assert delivery.message == event("m1")
    await broker.ping()


async def test_an_outage_is_told_once_and_so_is_its_end(
    proxy: Proxy, url: URL, brokers: Brokers, caplog: pytest.LogCaptureFixture
) -> None:
    """However often it is tried meanwhile, and although two connections are lost."""
    caplog.set_level(logging.CRITICAL)
    caplog.set_level(logging.WARNING, "sagas.brokers.rabbitmq_link")
    broker = brokers(proxy.url)
    await broker.open(QUEUES)
    proxy.lead_to(url.with_port(1))  # where nobody listens
    before = proxy.connections
    proxy.cut()
    async with asyncio.timeout(LIMIT_S):
        while proxy.connections < before + 6:  # noqa: ASYNC110 - the broker's own tries
            await asyncio.sleep(0.02)
    (said,) = caplog.messages
    where = f"RabbitMQ at 127.0.0.1:{proxy.url.port}: "
    assert said == f"{where}the connection was lost; it is tried until it works"
    proxy.lead_to(url)
    async with asyncio.timeout(LIMIT_S):
        while len(caplog.messages) < 2:  # noqa: ASYNC110 - the broker's own tries
            await asyncio.sleep(0.02)
    assert caplog.messages[1:] == [f"{where}connected again"]
    await published(broker, "m1")


async def test_a_cut_connection_is_made_anew_and_nothing_is_lost(
    proxy: Proxy, brokers: Brokers
) -> None:
    broker = brokers(proxy.url)
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 10)
    await published(broker, "m1")
    held = await subscription.next(1)
    proxy.cut()
    await published(broker, "m2")
    # What was unacked on the old connection comes again, and a late ack of it means nothing.
    subscription.ack(held)
    assert set(await receive(subscription, 2)) == {"m1", "m2"}
    await broker.ping()


async def test_a_publish_on_a_frozen_connection_ends_in_time(
    proxy: Proxy, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "PUBLISH_WITHIN_S", 0.5)
    broker = brokers(proxy.url)
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 10)
    await published(broker, "m1")
    proxy.freeze()
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(BrokerUnavailable, match="confirmed nothing within"):
            await broker.publish([event("m2")])
        with pytest.raises(BrokerUnavailable):
            await broker.ping()
    proxy.thaw()
    await published(broker, "m2")
    assert set(await receive(subscription, 2)) == {"m1", "m2"}


async def test_a_frozen_connection_is_given_up_after_some_heartbeats(
    proxy: Proxy, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """aio-pika then cancels what waits in it, although nobody cancelled: nobody hears of that."""
    monkeypatch.setattr(rabbitmq, "PUBLISH_WITHIN_S", 60.0)
    broker = brokers(proxy.url, heartbeat=2)
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 10)
    waiting = asyncio.create_task(subscription.next(1))
    proxy.freeze()
    publishing = asyncio.create_task(broker.publish([event("m1")]))
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(BrokerUnavailable, match="the connection broke"):
            await publishing
        with pytest.raises(BrokerUnavailable):
            await waiting
    proxy.thaw()
    await published(broker, "m2")
    assert "m2" in await receive(subscription, 1)


async def test_a_consume_that_is_never_answered_is_given_up(
    proxy: Proxy, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a quorum queue without a leader: the channel is given up, the others go on."""
    monkeypatch.setattr(rabbitmq_consumer, "CONSUME_WITHIN_S", 0.5)
    broker = brokers(proxy.url)
    await broker.open(QUEUES)
    others = broker.subscribe("tracker", 10)
    await broker.publish([event("m1", "RoomBooked")])
    assert await receive(others, 1) == ["m1"]
    proxy.swallow = CONSUME_OK
    subscription = broker.subscribe("hotel", 10)
    async with asyncio.timeout(LIMIT_S):
        with pytest.raises(BrokerUnavailable, match=r"hotel: no answer in time"):
            await subscription.next(1)
    await broker.publish([event("m2", "RoomBooked")])
    assert await receive(others, 1) == ["m2"]
    proxy.swallow = None
    await published(broker, "m3")
    assert await receive(subscription, 1) == ["m3"]


@pytest.mark.parametrize("thrown", [asyncio.CancelledError, Exception])
async def test_what_a_broken_connection_makes_of_a_call_is_an_outage(
    thrown: type[BaseException],
) -> None:
    """aiormq cancels the calls that wait in it; who waits for one gets that, or a bare Exception
    that comes of it. A link that took the latter for a fault of its own connected never again."""
    call = TaskWrapper(asyncio.create_task(asyncio.Event().wait()))
    call.throw(thrown)
    with pytest.raises(ConnectionError, match="the connection broke"), broken_is_no_cancel():
        await call


async def test_nor_does_it_hide_that_we_are_cancelled_ourselves() -> None:
    async def waits() -> None:
        with broken_is_no_cancel():
            await TaskWrapper(asyncio.create_task(asyncio.Event().wait()))

    waiting = asyncio.create_task(waits())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_cancelled_publish_disturbs_nobody(url: URL, brokers: Brokers) -> None:
    broker = brokers(url)
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 100)
    cancelled = [asyncio.create_task(broker.publish([event(f"c{n}")])) for n in range(20)]
    others = [asyncio.create_task(broker.publish([event(f"m{n}")])) for n in range(20)]
    for turn, task in enumerate(cancelled):
        for _ in range(turn % 4):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*others)
    found: set[str] = set()
    while not {f"m{n}" for n in range(20)} <= found:
        found |= set(await receive(subscription, 1))


async def test_a_broker_that_does_not_answer_is_closed_in_time(
    proxy: Proxy, brokers: Brokers
) -> None:
    broker = brokers(proxy.url, heartbeat=600)  # which would end it, too
    await broker.open(QUEUES)
    subscription = broker.subscribe("hotel", 100)
    for n in range(40):
        await broker.publish([event(f"m{n}")])
    held = await subscription.next(100)
    while len(held) < 40:
        held += await subscription.next(100)
    proxy.freeze()
    publishing = asyncio.create_task(broker.publish([event("m40")]))
    for place in range(0, 40, 2):
        subscription.ack(held[place : place + 1])
        await asyncio.sleep(0)
    async with asyncio.timeout(LIMIT_S):
        await broker.close()
    with pytest.raises(BrokerUnavailable):
        await publishing
    proxy.thaw()


async def test_what_was_settled_is_told_although_the_telling_was_cancelled(url: URL) -> None:
    """As at the end: amid it the server may take no more for a moment."""
    channel = SlowChannel()
    link = Link(url, "consumes", _nothing, Outage())
    ignore = dict.fromkeys(("arrived", "lost"), lambda _: None)
    consumer = Consumer(link, "hotel", 10, deleted=lambda: _nothing(None), **ignore)
    consumer._channel = channel  # type: ignore[assignment]
    for tag, acked in ((1, True), (2, False), (3, True)):
        consumer.settle(channel, tag, acked=acked)  # type: ignore[arg-type]
    telling = asyncio.create_task(consumer._tell(channel))  # type: ignore[arg-type]
    await channel.asked.wait()
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    channel.takes.set()
    await consumer._tell(channel)  # type: ignore[arg-type]
    assert channel.told == ["reject 2", "ack up to 3"]
    await consumer.close()
    await link.close()


class SlowChannel:
    """As aiormq's, when more is to be written than the socket takes."""

    def __init__(self) -> None:
        self.asked, self.takes = asyncio.Event(), asyncio.Event()
        self.told: list[str] = []

    async def basic_ack(self, tag: int, *, multiple: bool, wait: bool) -> None:
        await self._say(f"ack {'up to ' if multiple else ''}{tag}")

    async def basic_reject(self, tag: int, *, requeue: bool, wait: bool) -> None:
        await self._say(f"reject {tag}")

    async def _say(self, what: str) -> None:
        self.asked.set()
        await self.takes.wait()
        self.told.append(what)


async def _nothing(_: object) -> None: ...


async def test_a_start_waits_for_no_server_for_ever(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the first try hangs in: it is tried on, and the start has an end."""
    monkeypatch.setattr(rabbitmq_link, "START_WITHIN_S", 0.2)

    async def hangs(_: object) -> None:
        await asyncio.Event().wait()

    link = Link(url, "consumes", hangs, Outage())
    async with asyncio.timeout(5):
        await link.start()
    with pytest.raises(BrokerUnavailable, match="not connected yet"):
        link.now()
    await link.close()


async def test_a_link_that_dies_at_the_first_try_says_so(url: URL) -> None:
    async def fails(_: object) -> None:
        raise LookupError("a fault of ours")

    link = Link(url, "consumes", fails, Outage())
    with pytest.raises(LookupError, match="a fault of ours"):
        async with asyncio.timeout(20):
            await link.start()
    await link.close()
