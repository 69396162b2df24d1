"""An outage of store or broker pauses consuming: it rejects nothing and spends nobody's retries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from yarl import URL

from sagas import StoreUnavailable
from sagas.brokers import rabbitmq_link
from sagas.brokers.rabbitmq_link import Link, Outage
from sagas.ports import Outcome, Store, Write
from tests.rabbitmq.proxy import Proxy
from tests.rabbitmq.server import connected
from tests.rabbitmq.world import Trips, open_trips, until


class AwayStore:
    """Takes no commit while it is ``away``."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.away = False

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.away:
            raise StoreUnavailable("the store is away")
        return await self._inner.commit(writes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def _lies_in(trips: Trips, queue: str) -> int | None:
    """How many messages wait there, the unacked ones left out."""
    async with connected() as channel:
        found = await channel.declare_queue(f"{trips.name}.{queue}", passive=True)
        return found.declaration_result.message_count


async def test_while_the_store_is_away_messages_wait_and_spend_nothing(url: URL) -> None:
    stores: dict[str, AwayStore] = {}

    def store(name: str, inner: Store) -> Store:
        stores[name] = AwayStore(inner)
        return stores[name]  # type: ignore[return-value]

    # One delivery more than the first, and the broker would give the message up.
    async with open_trips(url.update_query(delivery_limit=1), store=store) as trips:
        hotel = trips.harness.runners["hotel"]
        stores["hotel"].away = True
        await trips.start("t1")

        async def outages() -> int:
            return hotel.counts.outages

        await until(outages, lambda count: count > 5)
        assert await trips.harness.state("hotel", "t1") is None
        stores["hotel"].away = False
        await trips.reached("t1", "done")
        assert hotel.trouble.retries == hotel.trouble.dead_letters == 0
        assert await _lies_in(trips, "dead") == 0


async def test_while_the_broker_is_away_events_wait_and_spend_nothing(proxy: Proxy) -> None:
    async with open_trips(proxy.url) as trips:
        proxy.refuse()
        for n in range(10):
            await trips.start(f"t{n}")
        await proxy.listen()
        for n in range(10):
            await trips.reached(f"t{n}", "done")
        for runner in trips.harness.runners.values():
            assert runner.trouble.retries == runner.trouble.dead_letters == 0


def _link(outage: Outage, fault: str) -> Link:
    async def nothing(_: object) -> None: ...

    link = Link(URL("amqp://127.0.0.1:5672/"), "publishes", nothing, outage)
    link.fault = fault
    return link


async def test_what_no_waiting_cures_is_told_amid_an_outage(
    caplog: pytest.LogCaptureFixture,
) -> None:
    outage = Outage()
    away, wrong = _link(outage, "away"), _link(outage, "declared otherwise")
    for _ in range(3):
        outage.begins(away)
        outage.begins(wrong, curable=False)
    assert caplog.messages == [
        "away; it is tried until it works",
        "declared otherwise; it is tried until it works",
    ]


async def test_an_outage_that_lasts_is_told_of_again(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = Outage()
    away = _link(outage, "away")
    monkeypatch.setattr(rabbitmq_link, "REMIND_S", 0.0)
    outage.begins(away)
    monkeypatch.setattr(rabbitmq_link, "REMIND_S", 60.0)
    for _ in range(3):
        outage.begins(away)
    assert caplog.messages == ["away; it is tried until it works"] * 2
