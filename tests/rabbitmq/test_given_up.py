"""What its consumer dies of, again and again: the net catches it, and it is a dead letter."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aio_pika import Message
from yarl import URL

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


async def test_what_fell_from_a_queue_that_is_gone_stays_in_the_net(
    url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_trips(url) as trips:
        async with connected() as channel:
            net = await channel.get_exchange(f"{trips.name}.dead")
            gone = f"{trips.name}.gone"
            await net.publish(Message(b"{}", headers={"x-first-death-queue": gone}), "")
        await until(lambda: _is_noted(caplog, f"there is no queue '{gone}' any more"), bool)
        await trips.start("t1")
        await trips.reached("t1", "done")
    async with connected() as channel:
        left = await channel.declare_queue(f"{trips.name}.dead", passive=True)
        assert left.declaration_result.message_count == 1
