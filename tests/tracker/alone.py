"""A tracker without the choreography at work: it hears what a test tells it."""

from __future__ import annotations

import asyncio
from typing import Any

from sagas import Choreography, Message
from sagas.brokers.embedded import EmbeddedBroker
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import SeededIds, VirtualClock
from sagas.tracker import Tracker
from tests.tracker.history import SAGA, History

__all__ = ["Alone"]


class Alone:
    """A tracker that hears only what a test publishes."""

    def __init__(self, choreography: Choreography) -> None:
        self.broker, self.clock = EmbeddedBroker(), VirtualClock()
        self.choreography = choreography
        self.database = MemoryDatabase()
        self.history = History()
        self.tracker = self.new_tracker()

    def new_tracker(self) -> Tracker:
        return Tracker(
            self.choreography,
            store=self.database.store("tracker"),
            broker=self.broker,
            clock=self.clock,
            ids=SeededIds(0, self.clock),
        )

    async def hear(self, *events: Any) -> None:
        known = len(self.history.messages)
        self.history.tell(*events)
        await self.broker.publish(self.history.messages[known:])

    async def publish(self, message: Message) -> None:
        await self.broker.publish([message])

    async def until(self, moment: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(moment - self.clock.now())

    async def saga(self) -> dict[str, Any]:
        found = await self.tracker.saga(SAGA)
        assert found is not None
        return found

    async def stuck(self) -> bool:
        view = await self.tracker.view(SAGA)
        assert view is not None
        return view.stuck
