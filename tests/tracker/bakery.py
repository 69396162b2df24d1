"""The toy choreography at work, with a tracker that hears it."""

from __future__ import annotations

import asyncio
from typing import Any

from sagas import Choreography
from sagas.testing.harness import Harness
from sagas.testing.memory import MemoryDatabase
from sagas.tracker import Tracker
from tests.tracker import toy
from tests.tracker.history import SAGA

__all__ = ["Bakery"]


class Bakery:
    def __init__(self, choreography: Choreography) -> None:
        self.oven = toy.Oven()
        self.world = Harness(
            choreography, resources={"kitchen": lambda runner: {toy.Oven: self.oven}}
        )
        self.database = MemoryDatabase()
        self.tracker = self.new_tracker()

    def new_tracker(self) -> Tracker:
        return Tracker(
            self.world.choreography,
            store=self.database.store("tracker"),
            broker=self.world.broker,
            clock=self.world.clock,
            ids=self.world.ids,
        )

    async def saga(self, saga_id: str = SAGA) -> dict[str, Any]:
        found = await self.tracker.saga(saga_id)
        assert found is not None
        return found

    async def order(self, saga_id: str = SAGA, **choices: str) -> None:
        await self.world.execute("counter", saga_id, toy.TakeOrder(guest="ada", **choices))
        await self.settle()

    async def courier(self, *commands: toy.Carry | toy.HandOver) -> None:
        for command in commands:
            await self.world.execute("courier", SAGA, command)
            await self.settle()

    async def settle(self) -> None:
        """Wait until everybody, the tracker included, has stored what every event led to."""
        runners = [*self.world.runners.values(), *self.tracker.runners]
        while True:
            await asyncio.sleep(0.01)
            if not any(runner.relay.backlog for runner in runners):
                return

    async def letters(self, **where: str) -> list[str]:
        found = await self.tracker.find_dead_letters({"status": "open", **where})
        return [record.key for record, _ in found]
