"""Virtual time for the tracker at work; the reducer needs none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from sagas import Choreography
from sagas.testing.virtual import VirtualLoop
from sagas.tracker import Plan, plan_of
from tests.steady import SteadyLoop
from tests.tracker import toy
from tests.tracker.alone import Alone
from tests.tracker.bakery import Bakery
from tests.tracker.history import History


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if "http" in item.nodeid:
        return {"steady": SteadyLoop}  # sockets have a life of their own
    return {"virtual": VirtualLoop}


@pytest.fixture
def choreography() -> Choreography:
    return toy.bakery()


@pytest.fixture
def plan(choreography: Choreography) -> Plan:
    return plan_of(choreography)


@pytest.fixture
async def bakery(choreography: Choreography) -> AsyncIterator[Bakery]:
    bakery = Bakery(choreography)
    async with bakery.world as world:
        await world.broker.open(choreography.queues(*bakery.tracker.participants))
        await bakery.tracker.start()
        yield bakery
        await bakery.tracker.stop()
        for runner in bakery.tracker.runners:
            assert not runner.failed.done()


@pytest.fixture
async def alone(choreography: Choreography) -> AsyncIterator[Alone]:
    alone = Alone(choreography)
    queues = choreography.queues(*alone.tracker.participants)
    # Nobody serves the other queues here, and the embedded broker would wait for them.
    await alone.broker.open({each.name: queues[each.name] for each in alone.tracker.participants})
    await alone.tracker.start()
    yield alone
    await alone.tracker.kill()
    await alone.broker.close()


@pytest.fixture
def history() -> History:
    return History()
