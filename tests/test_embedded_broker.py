"""The embedded broker beyond the port: its bound, its wake-ups and what it shares."""

from __future__ import annotations

import asyncio

import pytest

from sagas.brokers.embedded import EmbeddedBroker, EmbeddedSubscription
from sagas.envelope import Event, Message
from sagas.errors import BrokerUnavailable


class OrderPlaced(Event):
    order_id: str


def placed(number: int) -> Message:
    return Message(
        id=f"m{number}", type="OrderPlaced", source="o", subject="o", saga_id="s", time=0.0
    )


async def opened(capacity: int = 10_000) -> EmbeddedBroker:
    broker = EmbeddedBroker(capacity)
    await broker.open({"payment": ["OrderPlaced"]})
    return broker


async def turns(count: int = 5) -> None:
    """Let every other task go as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def drain(subscription: EmbeddedSubscription, count: int) -> list[str]:
    got: list[str] = []
    while len(got) < count:
        deliveries = await subscription.next(count - len(got))
        subscription.ack(deliveries)
        got += [delivery.message.id for delivery in deliveries if delivery.message]
    return got


async def test_a_publish_waits_for_room_in_a_full_queue() -> None:
    broker = await opened(capacity=3)
    publishing = asyncio.create_task(broker.publish([placed(n) for n in range(10)]))
    await turns()
    subscription = broker.subscribe("payment", 100)
    first = await subscription.next(100)
    assert len(first) == 3
    await turns()
    assert len(await subscription.next(100)) == 3  # what is unacked takes no room
    subscription.ack(first)
    assert len(await drain(subscription, 4)) == 4
    assert not publishing.done()
    await subscription.close()
    await drain(broker.subscribe("payment", 100), 3)
    await publishing


async def test_publishers_get_room_in_turn_and_a_cancelled_one_gives_up_its_place() -> None:
    broker = await opened(capacity=1)
    tasks = [asyncio.create_task(broker.publish([placed(n)])) for n in range(6)]
    await turns()
    subscription = broker.subscribe("payment", 100)
    tasks[2].cancel()
    assert await drain(subscription, 1) == ["m0"]
    tasks[1].cancel()  # it was just promised the room, which must go on to the next
    await turns()
    assert await drain(subscription, 3) == ["m3", "m4", "m5"]
    await asyncio.gather(*tasks[3:], tasks[0])
    assert tasks[1].cancelled()
    assert tasks[2].cancelled()


async def test_closing_ends_a_publish_that_waits_for_room() -> None:
    broker = await opened(capacity=1)
    publishing = asyncio.create_task(broker.publish([placed(1), placed(2)]))
    await turns()
    await broker.close()
    with pytest.raises(BrokerUnavailable):
        await publishing


async def test_acks_during_a_publish_that_waits_for_room_do_not_end_it() -> None:
    broker = await opened(capacity=1)
    publishing = asyncio.create_task(broker.publish([placed(1), placed(2)]))
    await turns()
    subscription = broker.subscribe("payment", 100)
    assert await drain(subscription, 1) == ["m1"]
    await turns()
    assert not publishing.done()
    assert await drain(subscription, 1) == ["m2"]
    await publishing


async def test_a_message_cancelled_by_its_publisher_is_delivered_and_counts_for_nobody() -> None:
    broker = await opened()
    cancelled = asyncio.create_task(broker.publish([placed(1)]))
    kept = asyncio.create_task(broker.publish([placed(2)]))
    await turns()
    cancelled.cancel()
    await turns()
    assert await drain(broker.subscribe("payment", 10), 2) == ["m1", "m2"]
    await kept


async def test_rejected_messages_go_to_the_front_in_their_order() -> None:
    broker = await opened(capacity=4)
    publishing = asyncio.create_task(broker.publish([placed(n) for n in range(4)]))
    await turns()
    subscription = broker.subscribe("payment", 10)
    subscription.reject(await subscription.next(2))
    assert await drain(subscription, 4) == ["m0", "m1", "m2", "m3"]
    await publishing


async def test_a_delivery_settled_twice_counts_once() -> None:
    broker = await opened()
    publishing = asyncio.create_task(broker.publish([placed(1), placed(2)]))
    await turns()
    subscription = broker.subscribe("payment", 10)
    first, second = await subscription.next(2)
    subscription.ack([first, first])
    subscription.ack([first])
    subscription.reject([first])
    await turns()
    assert not publishing.done()
    subscription.ack([second])
    await publishing


async def test_a_wake_up_passes_on_when_its_subscriber_is_cancelled() -> None:
    broker = await opened()
    first, second = broker.subscribe("payment", 1), broker.subscribe("payment", 1)
    leaving = asyncio.create_task(first.next(1))
    await turns()
    staying = asyncio.create_task(second.next(1))
    await turns()
    publishing = asyncio.create_task(broker.publish([placed(1)]))
    await asyncio.sleep(0)  # the message is in, the first subscriber woken but not yet running
    leaving.cancel()
    second.ack(await staying)
    await publishing


async def test_subscribers_share_the_decoded_event() -> None:
    broker = EmbeddedBroker()
    await broker.open({"payment": ["*"], "tracker": ["*"]})
    event = OrderPlaced(order_id="o1")
    message = Message(
        id="m1", type="OrderPlaced", source="o", subject="o", saga_id="s", time=0.0, event=event
    )
    publishing = asyncio.create_task(broker.publish([message]))
    for queue in ("payment", "tracker"):
        subscription = broker.subscribe(queue, 1)
        (delivery,) = await subscription.next(1)
        assert delivery.message is message
        subscription.ack([delivery])
    await publishing


async def test_mistakes_are_told_at_once() -> None:
    broker = await opened()
    with pytest.raises(ValueError, match="not declared"):
        broker.subscribe("unknown", 1)
    with pytest.raises(ValueError, match="prefetch"):
        broker.subscribe("payment", 0)
    with pytest.raises(ValueError, match="limit"):
        await broker.subscribe("payment", 1).next(0)
    with pytest.raises(ValueError, match="capacity"):
        EmbeddedBroker(0)
