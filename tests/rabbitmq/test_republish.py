"""A queue that was lost, or is new, is filled again from the sent events that are kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from yarl import URL

from sagas.cli import main
from sagas.republish import republish
from tests.rabbitmq.server import connected
from tests.rabbitmq.world import Trips, open_trips, until

SHOP = "participants.choreography:shop"


@pytest.fixture
async def trips(url: URL) -> AsyncIterator[Trips]:
    async with open_trips(url, keep_sent_s=3_600) as opened:
        yield opened


async def test_a_lost_queue_is_refilled_and_nobody_else_hears_twice(trips: Trips) -> None:
    await trips.start("t1")
    await trips.reached("t1", "done")
    await trips.harness.crash("hotel")
    await trips.start("t2")
    await until(lambda: trips.tracker.view("t2"), lambda view: view is not None)
    async with connected() as channel:
        raw = await channel.get_underlay_channel()
        await raw.queue_delete(f"{trips.name}.hotel")
    topics = trips.harness.choreography.queues()["hotel"]
    await trips.broker.open({"hotel": topics})
    await trips.harness.restart("hotel")
    # What was in the queue is lost: only what is kept can bring it back.
    stores = [trips.harness.database.store(name) for name in ("trip", "hotel", "airline")]

    async def refilled() -> int:
        return await republish(trips.broker, "hotel", topics, stores, since=0.0)

    # (What left a moment ago is kept at the next sweep.)
    assert await until(refilled, lambda count: count >= 2)
    await trips.reached("t2", "done")
    for saga in ("t1", "t2"):
        assert trips.harness.types(saga) == ["TripStarted", "RoomBooked", "FlightBooked"]
        view = await trips.tracker.view(saga)
        assert view is not None
        assert len(view.entries) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([SHOP, "paymint", "--broker", "amqp://h/"], 2, "no participant 'paymint': there are"),
        ([SHOP, "payment", "--broker", "embedded:"], 2, "embedded: loses no queue"),
        ([SHOP, "payment", "--broker", "nats://u:secret@h"], 2, "broker 'nats://…@h' is not known"),
        (["nowhere:shop", "payment", "--broker", "embedded:"], 2, "there is no module 'nowhere'"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["republish", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_without_data_or_server_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = ["republish", SHOP, "payment", "--broker", "amqp://127.0.0.1:9/"]
    assert main([*away, "--data-dir", str(tmp_path)]) == 2
    assert f"there are no data in {tmp_path}" in capsys.readouterr().err
