"""The loop that real tests run on: a process that is held up is late for nothing."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time

import pytest

from tests.steady import SteadyLoop

HELD_UP_S = 0.3


async def test_tests_with_sockets_and_processes_run_on_it():
    assert isinstance(asyncio.get_running_loop(), SteadyLoop)


async def test_waiting_takes_as_long_as_was_asked_for():
    loop = asyncio.get_running_loop()
    began, began_there = time.monotonic(), loop.time()
    await asyncio.sleep(0.12)
    assert loop.time() - began_there >= 0.12
    assert time.monotonic() - began >= loop.time() - began_there


async def test_what_came_while_it_was_held_up_is_in_time():
    loop = asyncio.get_running_loop()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        loop.call_soon(there.send, b"x")
        loop.call_soon(time.sleep, HELD_UP_S)
        async with asyncio.timeout(HELD_UP_S / 3):
            assert await loop.sock_recv(here, 1) == b"x"


async def test_being_held_up_brings_no_timer_closer():
    loop = asyncio.get_running_loop()
    began = loop.time()
    loop.call_soon(time.sleep, HELD_UP_S)
    await asyncio.sleep(0.01)
    assert loop.time() - began < HELD_UP_S / 3


def test_a_wait_that_was_held_up_counts_as_long_as_was_asked_for(monkeypatch):
    class HeldUp(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
        def select(self, timeout=None):
            time.sleep(HELD_UP_S / 3)
            return super().select(0)

    async def main() -> float:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(0.12)
        return asyncio.get_running_loop().time() - began

    monkeypatch.setattr(selectors, "DefaultSelector", HeldUp)
    with asyncio.Runner(loop_factory=SteadyLoop) as runner:
        assert runner.run(main()) == pytest.approx(0.12, abs=0.01)


async def test_time_moves_on_for_whoever_never_waits():
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.02
    async with asyncio.timeout(10):
        while loop.time() < end:  # noqa: ASYNC110 - whether it ever is, is the question
            await asyncio.sleep(0)
