"""Killed between two commands: what is left half done is mended by whoever comes next."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sagas.brokers.embedded import EmbeddedBroker
from sagas.relay import Relay
from sagas.stores.mongodb import MongoStore
from sagas.stores.mongodb_layout import Layout
from sagas.system import SystemClock
from tests.mongodb.conftest import ORDERS, event, order


@pytest.fixture
async def relay(store: MongoStore) -> AsyncIterator[Relay]:
    broker = EmbeddedBroker()
    await broker.open({})
    yield Relay(store, broker, SystemClock(), ["orders"])
    await broker.close()


async def test_an_outbox_that_was_emptied_and_not_settled_waits_no_longer(
    store: MongoStore, relay: Relay
) -> None:
    await store.commit([order("o1", outbox=(event("m1"),)), order("o2", outbox=(event("m2"),))])
    emptying, _killed_before = Layout(ORDERS).settle({"o1": ["m1"]})
    await store._connection.database(store._name)["orders"].bulk_write([emptying])
    assert [record.key for record in await store.pending("orders", 10)] == ["o1", "o2"]

    await relay.recover()
    await relay.settle()
    assert [record.key for record in await store.pending("orders", 10)] == ["o2"]
    assert relay.backlog == 1  # and that one it hands over
