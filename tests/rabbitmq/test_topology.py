"""What is on the server: declared by everybody, verified, and one clear error when it differs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aio_pika import Message
from yarl import URL

from sagas.brokers.rabbitmq import RabbitBroker
from sagas.errors import BrokerUnavailable, SettingError
from tests.rabbitmq.conftest import QUEUES, event
from tests.rabbitmq.server import connected

Brokers = Callable[..., RabbitBroker]


async def test_a_queue_that_exists_otherwise_is_one_clear_error(url: URL, brokers: Brokers) -> None:
    await brokers(url).open(QUEUES)
    with pytest.raises(SettingError) as error:
        await brokers(url, delivery_limit=7).open(QUEUES)
    said = str(error.value)
    assert f"queue '{url.query['namespace']}.hotel' already" in said
    assert "x-delivery-limit 1000 where 7 is wanted" in said
    assert "\n" not in said


async def test_an_exchange_that_exists_otherwise_is_one_clear_error(
    url: URL, brokers: Brokers
) -> None:
    name = f"{url.query['namespace']}.events"
    async with connected() as channel:
        await channel.declare_exchange(name, "direct", durable=True)
    with pytest.raises(SettingError, match=rf"exchange '{name}' .* type direct where topic"):
        await brokers(url).open(QUEUES)


async def test_an_event_reaches_queues_of_participants_that_never_ran(
    url: URL, brokers: Brokers
) -> None:
    """Every process declares all queues before it publishes."""
    broker = brokers(url)
    await broker.open(QUEUES)
    await broker.publish([event("m1")])
    async with connected() as channel:
        counts = {}
        for name in QUEUES:
            queue = await channel.declare_queue(f"{url.query['namespace']}.{name}", passive=True)
            counts[name] = queue.declaration_result.message_count
    assert counts == {"hotel": 1, "airline": 0, "tracker": 1}


async def test_what_no_queue_gets_any_more_is_not_taken(url: URL, brokers: Brokers) -> None:
    """Somebody deleted them all: they are declared anew, and the event waits in its outbox."""
    broker = brokers(url)
    await broker.open(QUEUES)
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        for name in QUEUES:
            await raw.queue_delete(f"{url.query['namespace']}.{name}")
    with pytest.raises(BrokerUnavailable, match="had lost the queues for TripStarted"):
        await broker.publish([event("m1")])
    await broker.publish([event("m1")])
    (delivery,) = await broker.subscribe("hotel", 1).next(1)
    assert delivery.message == event("m1")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://", "is not of the form amqp://user:password@host:port/vhost"),
        ("amqp://h:99999/", "is not of the form"),
        ("http://h/", "is not of the form"),
        ("amqp://h/?prefetch=3", "asks for prefetch: known are"),
        ("amqp://h/?delivery_limit=0", "delivery_limit=0 in the broker URL: a whole number"),
        ("amqp://h/?max_length=many", "max_length=many in the broker URL: a whole number"),
        (
            "amqp://h/?heartbeat=10s",
            "heartbeat=10s in the broker URL: a whole number from 1 to 600",
        ),
        ("amqp://h/?heartbeat=0", "heartbeat=0 in the broker URL"),
        ("amqp://h/?namespace=a%20b", "namespace='a b' in the broker URL: letters"),
        ("amqps://h/?cafile=/no/such.pem", "cafile='/no/such.pem' in the broker URL cannot be"),
        ("amqps://h/?capath=/no/such", "capath='/no/such' in the broker URL cannot be read"),
        ("amqps://h/?certfile=/no/such.pem", "certfile='/no/such.pem' in the broker URL cannot be"),
        (f"amqps://h/?cafile={__file__}", "in the broker URL cannot be used: "),
        (f"amqps://h/?certfile={__file__}", "in the broker URL cannot be used: "),
    ],
)
def test_a_wrong_url_is_one_clear_error(url: str, said: str) -> None:
    with pytest.raises(SettingError) as error:
        RabbitBroker(url)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"password": "hunter2"}, r"RabbitMQ at .* refuses user 'guest': check the broker URL"),
        ({"path": "/nowhere"}, r"RabbitMQ at .* has no virtual host 'nowhere' for user 'guest'"),
    ],
)
async def test_a_server_that_refuses_us_ends_the_start_with_one_clear_error(
    url: URL, brokers: Brokers, changed: dict[str, str], said: str
) -> None:
    wrong = url
    if "password" in changed:
        wrong = url.with_password(changed["password"])
    if "path" in changed:
        wrong = url.with_path(changed["path"], keep_query=True)
    with pytest.raises(SettingError, match=said) as error:
        await brokers(wrong).open(QUEUES)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize("topics", [["Trip*"], ["#"], ["a.#"]])
async def test_a_topic_is_no_pattern(url: URL, brokers: Brokers, topics: list[str]) -> None:
    with pytest.raises(ValueError, match="wildcard"):
        await brokers(url).open({"hotel": topics})


async def test_a_full_queue_refuses_and_names_what_was_taken(url: URL, brokers: Brokers) -> None:
    """What does not fit stays with its producer; what did get through is not sent again."""
    broker = brokers(url, max_length=3)
    await broker.open({"hotel": ["TripStarted"], "airline": ["RoomBooked"]})
    refused: list[BrokerUnavailable] = []
    for n in range(20):
        try:
            await broker.publish([event(f"h{n}"), event(f"a{n}", "RoomBooked")])
        except BrokerUnavailable as error:
            refused.append(error)
        # The airline keeps up.
        for delivery in await (airline := broker.subscribe("airline", 10)).next(10):
            airline.ack([delivery])
        await airline.close()
    assert refused
    assert all("refuses TripStarted: a queue is full" in str(error) for error in refused)
    assert all(len(error.taken) == 1 for error in refused)
    hotel = broker.subscribe("hotel", 100)
    hotel.ack(await hotel.next(100))
    await broker.publish([event("h-last")])


async def test_what_foreign_hands_put_past_the_exchange_is_heard_all_the_same(
    url: URL, brokers: Brokers
) -> None:
    broker = brokers(url)
    await broker.open(QUEUES)
    async with connected() as channel:
        await channel.default_exchange.publish(Message(b"?"), f"{url.query['namespace']}.hotel")
    (delivery,) = await broker.subscribe("hotel", 1).next(1)
    assert (delivery.message, delivery.raw) == (None, b"?")
    assert "content type None is not understood" in delivery.fault
