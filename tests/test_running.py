"""``Running``: a whole choreography in one process, on real files and the real clock."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sagas import DeclarationError, SettingError
from sagas.running import Running
from tests.engine.toy import Start, Toy, TripCancelled

#: Nothing here takes longer than moments; a test that hangs is told so.
LIMIT_S = 60.0


def _running(toy: Toy, folder: Path) -> Running:
    return Running(toy.choreography, data_dir=folder, resources=toy.resources)


async def test_a_saga_is_sent_followed_to_its_end_and_looked_at(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT_S), _running(Toy(), tmp_path) as trips:
        good, bad = await trips.send(Start()), await trips.send(Start(flight="sold out"))
        told = [[each["type"] async for each in trips.events(saga_id)] for saga_id in (good, bad)]
        assert told == [
            ["TripStarted", "RoomBooked", "FlightBooked"],
            ["TripStarted", "RoomBooked", "FlightRefused", "RoomFreed", "TripCancelled"],
        ]
        saga = await trips.saga(bad)
        assert saga is not None
        assert (saga["status"], saga["steps"][1]["status"]) == ("compensated", "compensated")
        assert (await trips.state("hotel", bad)).status == "freed"
        assert await trips.state("hotel", "no such saga") is None


async def test_what_was_under_way_goes_on_at_the_next_start(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT_S):
        async with _running(Toy(), tmp_path) as trips:
            await trips.runners["hotel"].kill()
            saga_id = await trips.send(Start())
        async with _running(Toy(), tmp_path) as trips:
            events = [each["type"] async for each in trips.events(saga_id)]
    assert events == ["TripStarted", "RoomBooked", "FlightBooked"]


async def test_a_command_may_concern_a_saga_that_runs(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT_S), _running(Toy(), tmp_path) as trips:
        saga_id = await trips.send(Start(), saga_id="my-own-id")
        assert saga_id == "my-own-id"
        assert (await trips.state("trip", saga_id)).status == "started"


async def test_a_bug_of_the_engine_ends_the_body_and_is_raised(tmp_path: Path) -> None:
    async def wait_for_ever() -> None:
        async with asyncio.timeout(LIMIT_S), _running(Toy(), tmp_path) as trips:
            trips.runners["hotel"].failed.set_exception(RuntimeError("a bug"))
            await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="a bug"):
        await wait_for_ever()
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling(), "whoever caught it goes on"


async def test_the_bodys_own_exception_passes_as_it_is(tmp_path: Path) -> None:
    async def fail() -> None:
        async with asyncio.timeout(LIMIT_S), _running(Toy(), tmp_path):
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await fail()


async def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    async with asyncio.timeout(LIMIT_S), _running(Toy(), tmp_path):
        with pytest.raises(SettingError, match="in use by another process"):
            await _running(Toy(), tmp_path).__aenter__()


async def test_what_is_missing_or_misspelt_is_said_at_once(tmp_path: Path) -> None:
    toy = Toy()
    with pytest.raises(DeclarationError, match="'hotle', which is no participant of 'trip'"):
        Running(toy.choreography, resources={"hotle": lambda runner: {}})
    with pytest.raises(DeclarationError, match="asks for Outside, which it was not given"):
        await Running(toy.choreography, data_dir=tmp_path).__aenter__()
    async with asyncio.timeout(LIMIT_S), _running(toy, tmp_path) as trips:
        with pytest.raises(DeclarationError, match="TripCancelled is taken by nobody"):
            await trips.send(TripCancelled())
