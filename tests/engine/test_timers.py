"""Stored timers: they outlive a crash, and those that fail never delay those that do not."""

from __future__ import annotations

import asyncio
from typing import Never

from pydantic import BaseModel

from sagas import Choreography, Command, Context, Decision, Event, Participant, Retryable
from sagas.testing.harness import Harness


class Alarm(BaseModel):
    rings_at: float
    rang_at: float | None = None


class SetAlarm(Command):
    seconds: float


class StopAlarm(Command):
    pass


class Rang(Event):
    at: float


class Bell:
    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.rings: list[str] = []

    async def ring(self, key: str) -> None:
        self.rings.append(key)
        if key in self.broken:
            await asyncio.sleep(5)  # it fails slowly, too
            raise Retryable("the bell is broken; mend it")


def _clockwork() -> tuple[Choreography, Bell, Participant[Alarm]]:
    bell, clock = Bell(), Participant("clock", state=Alarm)

    @clock.command(SetAlarm)
    def set_alarm(command: SetAlarm, ctx: Context) -> Decision[Alarm, Never]:
        return Decision(
            Alarm(rings_at=ctx.now + command.seconds), timers={"alarm": command.seconds}
        )

    @clock.command(StopAlarm)
    def stop_alarm(alarm: Alarm) -> Decision[Alarm, Never]:
        return Decision(alarm, timers={"alarm": None})

    @clock.timer("alarm", emits=[Rang])
    async def ring(alarm: Alarm, bell: Bell, ctx: Context) -> Decision[Alarm, Rang]:
        await bell.ring(ctx.key)
        return Decision(alarm.model_copy(update={"rang_at": ctx.now}), Rang(at=ctx.now))

    choreography = Choreography("clock", [clock], completed_by=[Rang], compensated_by=[])
    return choreography, bell, clock


async def test_a_timer_fires_once_at_its_time() -> None:
    choreography, bell, _ = _clockwork()
    async with Harness(choreography, resources={"clock": lambda _: {Bell: bell}}) as world:
        await world.execute("clock", "a", SetAlarm(seconds=120))
        await asyncio.sleep(119.5)
        assert bell.rings == []
        await asyncio.sleep(1)
        assert bell.rings == ["a"]
        await asyncio.sleep(1000)
        assert bell.rings == ["a"]


async def test_timers_outlive_restarts_also_those_that_came_due_meanwhile() -> None:
    choreography, bell, _ = _clockwork()
    async with Harness(choreography, resources={"clock": lambda _: {Bell: bell}}) as world:
        await world.execute("clock", "soon", SetAlarm(seconds=10))
        await world.execute("clock", "late", SetAlarm(seconds=86_400))
        await world.crash("clock")
        await asyncio.sleep(3_600)
        await world.restart("clock")
        await asyncio.sleep(2)
        assert bell.rings == ["soon"]
        await world.restart("clock")
        await asyncio.sleep(86_400)
        assert bell.rings == ["soon", "late"]


async def test_a_voided_timer_does_not_fire() -> None:
    choreography, bell, _ = _clockwork()
    async with Harness(choreography, resources={"clock": lambda _: {Bell: bell}}) as world:
        await world.execute("clock", "a", SetAlarm(seconds=60))
        await world.execute("clock", "a", StopAlarm())
        await asyncio.sleep(1000)
        assert bell.rings == []


async def test_a_hundred_failing_timers_do_not_delay_a_healthy_one() -> None:
    choreography, bell, clock = _clockwork()
    bell.broken = {f"broken-{n:03}" for n in range(100)}
    async with Harness(choreography, resources={"clock": lambda _: {Bell: bell}}) as world:
        for key in sorted(bell.broken):
            await world.execute("clock", key, SetAlarm(seconds=10))
        # Long enough for all hundred to be failing, in every phase of their backoff.
        for wait_s in (10, 40, 300, 1_000):
            key = f"healthy-{wait_s}"
            await world.execute("clock", key, SetAlarm(seconds=wait_s))
            await asyncio.sleep(wait_s + 0.1)
            alarm = await world.state("clock", key, clock.saga)
            assert isinstance(alarm, Alarm)
            assert alarm.rang_at is not None, f"{key} waits behind failing timers"
            assert alarm.rang_at - alarm.rings_at < 0.1
        assert len([key for key in bell.rings if key in bell.broken]) > 1_000, "they went on"
        bell.broken = set()
        await asyncio.sleep(200)
        mended = [await world.state("clock", f"broken-{n:03}", clock.saga) for n in range(100)]
        assert all(alarm is not None and alarm.rang_at for alarm in mended), "and rang at last"
