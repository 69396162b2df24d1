"""Counting over a window that slides."""

from __future__ import annotations

import asyncio

from gateway.counts import SlidingCount


async def test_what_is_older_than_the_window_is_forgotten_slot_by_slot():
    count = SlidingCount(10.0)
    await asyncio.sleep(100.0)
    for _ in range(10):
        count.add()
        await asyncio.sleep(1.0)
    assert count.total() == 9
    await asyncio.sleep(4.0)
    assert count.total() == 5
    await asyncio.sleep(100.0)
    assert count.total() == 0
    count.add(3)
    assert count.total() == 3


async def test_a_short_window_and_a_long_silence():
    count = SlidingCount(0.1)
    count.add()
    await asyncio.sleep(1e6)
    assert count.total() == 0
    count.add()
    await asyncio.sleep(0.05)
    assert count.total() == 1
