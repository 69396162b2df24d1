"""Who asks for a saga that has only just begun waits for its first event; others do not."""

from __future__ import annotations

import asyncio

import pytest

from sagas.system import uuid7
from sagas.tracker.tracker import PATIENCE_S, YOUNG_S
from tests.tracker.bakery import Bakery


async def test_a_saga_that_begins_in_this_moment_is_waited_for(bakery: Bakery) -> None:
    saga_id = bakery.world.ids.new()
    asked = asyncio.ensure_future(bakery.tracker.view_soon(saga_id))
    await asyncio.sleep(PATIENCE_S / 2)
    assert not asked.done()
    began = asyncio.get_running_loop().time()
    await bakery.order(saga_id)
    view = await asked
    assert view is not None
    assert view.entries[0].type == "Ordered"
    assert asyncio.get_running_loop().time() - began < 1.0


async def test_patience_ends(bakery: Bakery) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await bakery.tracker.view_soon(bakery.world.ids.new()) is None
    assert PATIENCE_S <= loop.time() - began < PATIENCE_S + 0.2


@pytest.mark.parametrize("age_s", [YOUNG_S + 1, -YOUNG_S - 1])
async def test_what_is_not_young_is_not_waited_for(bakery: Bakery, age_s: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    old = uuid7(bakery.world.clock.now() - age_s, 1)
    for saga_id in (old, "saga-1", bakery.world.ids.new().upper(), "", "ü" * 36):
        assert await bakery.tracker.view_soon(saga_id) is None
    assert loop.time() - began < 0.1
