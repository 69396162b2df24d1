"""What every broker promises; each test quotes ``sagas.ports``.

A publish may return on a server's confirm, or only when every subscriber has acked. The tests
check whichever the back end declares, so a publish is always a task that is awaited in due time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sagas.envelope import Message
from sagas.errors import BrokerUnavailable
from sagas.ports import Broker, Delivery, Subscription

QUEUES = {"payment": ["OrderPlaced", "Retry.payment"], "order": ["PaymentTaken"], "tracker": ["*"]}

Publish = Callable[..., Coroutine[Any, Any, asyncio.Task[None]]]


def placed(id: str, type: str = "OrderPlaced", to: str | None = None) -> Message:
    return Message(id=id, type=type, source="o", subject="o1", saga_id="s", time=1.5, to=to)


@pytest.fixture
def publish(waits_for_acks: bool) -> Publish:
    """Hand messages over; what is returned is done when all were acked (or confirmed)."""

    async def start(broker: Broker, *messages: Message) -> asyncio.Task[None]:
        task = asyncio.create_task(broker.publish(messages))
        if waits_for_acks:
            await asyncio.sleep(0)  # let it begin
        else:
            await task
        return task

    return start


async def receive(subscription: Subscription, count: int) -> list[Delivery]:
    """The next ``count`` deliveries, unacked. The time limit is for what never comes."""
    deliveries: list[Delivery] = []
    async with asyncio.timeout(60):
        while len(deliveries) < count:
            deliveries += await subscription.next(count - len(deliveries))
    return deliveries


async def drain(subscription: Subscription, count: int) -> list[str]:
    """Receive and ack ``count`` deliveries; their message ids."""
    deliveries = await receive(subscription, count)
    subscription.ack(deliveries)
    return ids(deliveries)


def ids(deliveries: list[Delivery]) -> list[str]:
    return [delivery.message.id if delivery.message else "" for delivery in deliveries]


# ---------------------------------------------------------------------------- who hears what


async def test_every_queue_bound_to_the_topic_gets_the_message(
    broker: Broker, publish: Publish
) -> None:
    """A published message reaches every queue bound to its topic."""
    await broker.open(QUEUES)
    payment, tracker = broker.subscribe("payment", 10), broker.subscribe("tracker", 10)
    task = await publish(broker, placed("m1"))
    assert await drain(payment, 1) == ["m1"]
    assert await drain(tracker, 1) == ["m1"]
    await task


async def test_topics_match_exactly_and_a_star_hears_all(broker: Broker, publish: Publish) -> None:
    """A queue … hears topics (name → topics; ``*`` hears all)."""
    await broker.open(QUEUES)
    messages = [
        placed("m1", "OrderPlacedAgain"),
        placed("m2", "orderplaced"),
        placed("m3", "PaymentTaken"),
        placed("m4", "OrderPlaced"),
    ]
    task = await publish(broker, *messages)
    assert await drain(broker.subscribe("order", 10), 1) == ["m3"]
    assert await drain(broker.subscribe("payment", 10), 1) == ["m4"]
    assert sorted(await drain(broker.subscribe("tracker", 10), 4)) == ["m1", "m2", "m3", "m4"]
    await task


async def test_an_addressed_message_goes_to_its_addressee(broker: Broker, publish: Publish) -> None:
    """The routing key: the type, with the addressee behind a dot when there is one."""
    await broker.open(QUEUES)
    task = await publish(
        broker,
        placed("m1", "Retry", to="order"),
        placed("m2", "Retry"),
        placed("m3", "OrderPlaced", to="payment"),
        placed("m4", "Retry", to="payment"),
    )
    assert await drain(broker.subscribe("payment", 10), 1) == ["m4"]
    assert sorted(await drain(broker.subscribe("tracker", 10), 4)) == ["m1", "m2", "m3", "m4"]
    await task


async def test_what_nobody_hears_counts_as_taken(broker: Broker) -> None:
    await broker.open({"order": ["PaymentTaken"]})
    await broker.publish([placed("m1", "Unheard")])
    await broker.publish([])


async def test_queues_may_be_declared_again_and_hear_more(broker: Broker, publish: Publish) -> None:
    """Declare queues before anything is published: every process does."""
    await broker.open({"payment": ["OrderPlaced"]})
    await broker.open({"payment": ["OrderPlaced"], "order": []})
    await broker.open({"payment": ["PaymentTaken"], "order": ["PaymentTaken"]})
    task = await publish(broker, placed("m1"), placed("m2", "PaymentTaken"))
    assert sorted(await drain(broker.subscribe("payment", 10), 2)) == ["m1", "m2"]
    assert await drain(broker.subscribe("order", 10), 1) == ["m2"]
    await task


async def test_a_message_travels_whole(broker: Broker, publish: Publish) -> None:
    """``message``, as it was published: all that the envelope holds."""
    await broker.open({"payment": ["Retry.payment"]})
    full = Message(
        id="m1",
        type="Retry",
        version=3,
        source="operator",
        subject="p1/ü",
        saga_id="s1",
        sequence=7,
        time=1_700_000_000.25,
        causation_id="m0",
        request_id="r1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        attempt=4,
        to="payment",
        data='{"note":"“ü\\"”","nested":[{"a":null}]}'.encode(),
    )
    task = await publish(broker, full)
    subscription = broker.subscribe("payment", 1)
    (delivery,) = await subscription.next(1)
    assert delivery.message == full
    assert delivery.redelivered == 0
    subscription.ack([delivery])
    await task


# -------------------------------------------------------------------------- when publish returns


async def test_publish_returns_when_responsibility_has_passed_on(
    broker: Broker, waits_for_acks: bool
) -> None:
    """A server: when it confirmed. The embedded broker: when every subscriber has acked."""
    await broker.open(QUEUES)
    payment, tracker = broker.subscribe("payment", 10), broker.subscribe("tracker", 10)
    task = asyncio.create_task(broker.publish([placed("m1"), placed("m2")]))
    if not waits_for_acks:
        await task  # nobody has received anything
    taken = await receive(payment, 2)
    seen = await receive(tracker, 2)
    if waits_for_acks:
        payment.ack(taken[:1])
        tracker.ack(seen)
        await asyncio.sleep(0)
        assert not task.done()  # one of two messages lacks one of two acks
    payment.ack(taken[1:])
    tracker.ack(seen)
    await task


async def test_nothing_is_lost_while_nobody_subscribes(broker: Broker, publish: Publish) -> None:
    """… even if nobody subscribes at the moment."""
    await broker.open({"payment": ["OrderPlaced"]})
    tasks = [await publish(broker, placed(f"m{n}")) for n in range(20)]
    late = broker.subscribe("payment", 100)
    assert sorted(await drain(late, 20)) == sorted(f"m{n}" for n in range(20))
    await asyncio.gather(*tasks)


async def test_nothing_is_lost_by_a_restart(
    broker_process: Any, publish: Publish, waits_for_acks: bool
) -> None:
    """The caller keeps the messages and publishes them again (repeats are allowed)."""
    broker: Broker = broker_process.broker
    await broker.open({"payment": ["OrderPlaced"]})
    task = await publish(broker, placed("m1"))
    await receive(broker.subscribe("payment", 1), 1)  # and dies before its ack
    await broker_process.restart()
    again: Broker = broker_process.broker
    await again.open({"payment": ["OrderPlaced"]})
    if waits_for_acks:
        # Not taken yet, so it is still in its producer's outbox, and the relay finds it there.
        with pytest.raises(BrokerUnavailable):
            await task
        task = await publish(again, placed("m1"))
    assert await drain(again.subscribe("payment", 1), 1) == ["m1"]
    await task


async def test_a_cancelled_publish_does_not_disturb_the_next(
    broker: Broker, publish: Publish
) -> None:
    """At least once: what was cancelled may have been delivered, and may be published again."""
    await broker.open({"payment": ["OrderPlaced"]})
    cancelled = asyncio.create_task(broker.publish([placed("m1"), placed("m2")]))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    subscription = broker.subscribe("payment", 10)
    for id in ("m3", "m4"):
        task = await publish(broker, placed(id))
        while await drain(subscription, 1) != [id]:
            continue  # what the cancelled publish had already handed over
        await task


# --------------------------------------------------------------------------------- consuming


async def test_next_waits_and_then_gives_what_has_gathered(
    broker: Broker, publish: Publish
) -> None:
    """At least one and at most ``limit`` deliveries: whatever has gathered."""
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 100)
    first = asyncio.create_task(subscription.next(10))
    await asyncio.sleep(0)
    task = await publish(broker, *(placed(f"m{n}") for n in range(25)))
    deliveries = await first
    while len(deliveries) < 25:
        more = await subscription.next(10)
        assert 1 <= len(more) <= 10
        deliveries += more
    assert sorted(ids(deliveries)) == sorted(f"m{n}" for n in range(25))
    subscription.ack(deliveries)
    await task


async def test_subscriptions_to_one_queue_share_its_messages(
    broker: Broker, publish: Publish
) -> None:
    """Several subscriptions to one queue share its messages."""
    await broker.open({"payment": ["OrderPlaced"]})
    seen: Counter[str] = Counter()
    by: Counter[int] = Counter()
    all_in = asyncio.Event()
    everybody = asyncio.Barrier(3)

    async def consume(name: int) -> None:
        subscription = broker.subscribe("payment", 5)
        while True:
            deliveries = await subscription.next(2)
            if not by[name]:
                await everybody.wait()  # however long a server takes to let the last one in
            seen.update(ids(deliveries))
            by[name] += len(deliveries)
            subscription.ack(deliveries)
            if len(seen) == 300:
                all_in.set()
            await asyncio.sleep(0)

    consumers = [asyncio.create_task(consume(name)) for name in range(3)]
    # Spread over many calls: what one call publishes may travel together, to one of them.
    calls = [[placed(f"m{n + i}") for i in range(10)] for n in range(0, 300, 10)]
    tasks = [await publish(broker, *messages) for messages in calls]
    await all_in.wait()
    await asyncio.gather(*tasks)
    for consumer in consumers:
        consumer.cancel()
    assert set(seen.values()) == {1}  # each to one of them only
    assert len(by) == 3


async def test_prefetch_bounds_what_one_subscriber_holds(broker: Broker, publish: Publish) -> None:
    """At most ``prefetch`` deliveries are unacked at any time."""
    await broker.open({"payment": ["OrderPlaced"]})
    full = broker.subscribe("payment", 2)
    # Each by a call of its own: those of one call may travel together, to one of them.
    tasks = [await publish(broker, placed(f"m{n}")) for n in range(6)]
    held = await receive(full, 2)
    beyond = asyncio.create_task(full.next(10))
    await asyncio.sleep(0)  # it asks before the other does
    # The others are free for somebody else, since the first may hold no more.
    other = broker.subscribe("payment", 3)
    rest = await receive(other, 3)
    assert not beyond.done()
    full.ack(held[:1])
    (third,) = await beyond
    assert len({*ids(held), *ids(rest), *ids([third])}) == 6
    full.ack([held[1], third])
    other.ack(rest)
    await asyncio.gather(*tasks)


async def test_prefetch_also_bounds_what_was_published_together(
    broker: Broker, publish: Publish
) -> None:
    """At most ``prefetch`` deliveries are unacked at any time."""
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 2)
    task = await publish(broker, *(placed(f"m{n}") for n in range(5)))
    held = await receive(subscription, 2)
    beyond = asyncio.create_task(subscription.next(10))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not beyond.done()
    subscription.ack(held[1:])
    third = await beyond
    assert len(third) == 1
    subscription.ack([held[0], *third])
    assert len({*ids(held), *ids(third), *await drain(subscription, 2)}) == 5
    await task


# --------------------------------------------------------------------------------- redelivery


async def test_a_rejected_message_comes_again_and_is_counted(
    broker: Broker, publish: Publish
) -> None:
    """Hand these back: they will be delivered again, counted as redelivered."""
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 10)
    task = await publish(broker, placed("m1"), placed("m2"))
    for rejected in range(4):
        deliveries = await receive(subscription, 2)
        assert sorted(ids(deliveries)) == ["m1", "m2"]
        assert [delivery.redelivered for delivery in deliveries] == [rejected] * 2
        subscription.reject(deliveries)
    assert sorted(await drain(subscription, 2)) == ["m1", "m2"]
    await task


async def test_of_one_batch_some_may_be_acked_and_others_rejected(
    broker: Broker, publish: Publish
) -> None:
    """To be acked or rejected exactly once, each by itself."""
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 10)
    task = await publish(broker, *(placed(f"m{n}") for n in range(6)))
    deliveries = await receive(subscription, 6)
    subscription.reject(deliveries[1::2])
    subscription.ack(deliveries[::2])
    assert sorted(await drain(subscription, 3)) == sorted(ids(deliveries[1::2]))
    await task


async def test_closing_gives_back_what_was_not_acked(broker: Broker, publish: Publish) -> None:
    """What was not acked will be delivered again to whoever subscribes next."""
    await broker.open({"payment": ["OrderPlaced"]})
    first = broker.subscribe("payment", 10)
    task = await publish(broker, placed("m1"), placed("m2"), placed("m3"))
    deliveries = await receive(first, 3)
    acked = deliveries.pop()
    first.ack([acked])
    await first.close()
    await first.close()
    second = broker.subscribe("payment", 10)
    again = await receive(second, 2)
    assert sorted(ids(again)) == sorted(ids(deliveries))
    assert all(delivery.redelivered >= 1 for delivery in again)
    first.ack(deliveries)  # too late: these belong to the second now
    second.ack(again)
    await task


async def test_an_ack_takes_nothing_else_along(broker: Broker, publish: Publish) -> None:
    """*These* are stored: never deliver them again."""
    await broker.open({"payment": ["OrderPlaced"]})
    first = broker.subscribe("payment", 10)
    tasks = [await publish(broker, placed(f"m{n}")) for n in range(6)]
    held = {
        delivery.message.id: delivery for delivery in await receive(first, 6) if delivery.message
    }
    first.ack([held["m4"], held["m1"]])
    await asyncio.sleep(0)
    first.ack([held["m0"]])
    await asyncio.sleep(0)
    first.ack([held["m5"]])
    await first.close()
    assert sorted(await drain(broker.subscribe("payment", 10), 2)) == ["m2", "m3"]
    await asyncio.gather(*tasks)


async def test_a_closed_subscription_delivers_no_more(broker: Broker) -> None:
    """Stop."""
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 10)
    waiting = asyncio.create_task(subscription.next(1))
    await asyncio.sleep(0)
    await subscription.close()
    with pytest.raises(BrokerUnavailable):
        await waiting
    with pytest.raises(BrokerUnavailable):
        await subscription.next(1)


async def test_a_cancelled_next_loses_nothing(broker: Broker, publish: Publish) -> None:
    await broker.open({"payment": ["OrderPlaced"]})
    subscription = broker.subscribe("payment", 10)
    for n in range(10):
        waiting = asyncio.create_task(subscription.next(1))
        await asyncio.sleep(0)
        task = await publish(broker, placed(f"m{n}"))
        waiting.cancel()
        await asyncio.wait([waiting])
        # It may have returned before it was cancelled: then it has it.
        deliveries = await receive(subscription, 1) if waiting.cancelled() else waiting.result()
        assert ids(deliveries) == [f"m{n}"]
        subscription.ack(deliveries)
        await task


# ------------------------------------------------------------------------------------ closing


async def test_after_close_everything_says_so(
    broker: Broker, publish: Publish, waits_for_acks: bool
) -> None:
    """Let go of everything. Safe to repeat. Raises ``BrokerUnavailable``."""
    await broker.open({"payment": ["OrderPlaced"], "order": ["PaymentTaken"]})
    await broker.ping()
    subscription = broker.subscribe("order", 1)
    waiting = asyncio.create_task(subscription.next(1))
    publishing = await publish(broker, placed("m1"))
    await broker.close()
    await broker.close()
    with pytest.raises(BrokerUnavailable):
        await waiting
    if waits_for_acks:
        with pytest.raises(BrokerUnavailable):
            await publishing
    with pytest.raises(BrokerUnavailable):
        await broker.publish([placed("m2")])
    with pytest.raises(BrokerUnavailable):
        await subscription.next(1)
    with pytest.raises(BrokerUnavailable):
        await broker.ping()
