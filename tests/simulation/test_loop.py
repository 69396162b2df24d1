"""The loop of a world: asyncio's own parts run on it, in virtual time and always in one order."""

from __future__ import annotations

import asyncio
from contextvars import Context, ContextVar

import pytest

from sagas.simulate.loop import WorldLoop

where: ContextVar[str] = ContextVar("where", default="nowhere")


def test_time_jumps_to_the_next_timer() -> None:
    loop = WorldLoop()
    told: list[tuple[float, str]] = []

    async def say(word: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        told.append((loop.now, word))

    async def main() -> None:
        await asyncio.gather(say("late", 3_600.0), say("soon", 0.5), say("as soon", 0.5))

    loop.run_until_complete(main())
    assert told == [(0.5, "soon"), (0.5, "as soon"), (3_600.0, "late")]


def test_a_time_limit_and_a_cancelled_timer() -> None:
    loop = WorldLoop()

    async def main() -> None:
        timer = loop.call_later(1.0, pytest.fail, "it was cancelled")
        timer.cancel()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.create_future(), 2.0)

    loop.run_until_complete(main())
    assert loop.now == 2.0


def test_all_of_one_moment_comes_before_what_it_leads_to() -> None:
    loop = WorldLoop()
    told: list[str] = []

    async def main() -> None:
        for word in ("one", "two"):
            loop.after(1.0, told.append, word)
            loop.after(1.0, lambda word=word: loop.call_soon(told.append, f"after {word}"))
        await asyncio.sleep(2.0)

    loop.run_until_complete(main())
    assert told == ["one", "two", "after one", "after two"]


def test_a_task_stays_in_the_context_that_it_was_made_in() -> None:
    """Also in an empty one, when somebody in another context wakes it."""
    loop = WorldLoop()
    told: list[str] = []

    async def stranger(woken: asyncio.Future[None]) -> None:
        where.set("elsewhere")
        await asyncio.sleep(1.0)
        woken.set_result(None)

    async def main() -> None:
        woken: asyncio.Future[None] = loop.create_future()
        task = loop.create_task(stranger(woken))
        await woken
        told.append(where.get())
        await task

    Context().run(loop.run_until_complete, main())
    assert told == ["nowhere"]


def test_a_callback_that_raises_is_told_of_and_ends_nothing() -> None:
    loop = WorldLoop()
    failed: list[Exception] = []
    loop.failed = failed.append

    async def main() -> str:
        loop.call_soon(int, "no number")
        loop.after(0.5, int, "no number either")
        await asyncio.sleep(1.0)
        return "done"

    assert loop.run_until_complete(main()) == "done"
    assert [type(error) for error in failed] == [ValueError, ValueError]


def test_waiting_for_nothing_is_an_error() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="deadlock"):
        WorldLoop().run_until_complete(main())


def test_there_is_nothing_outside() -> None:
    async def main() -> None:
        await asyncio.to_thread(print)

    with pytest.raises(NotImplementedError):
        WorldLoop().run_until_complete(main())
