"""A whole choreography in one test: real participants and engine, virtual time, memory for disks.

async with Harness(shop, resources={"payment": …}) as world:
    await world.execute("order", order_id, PlaceOrder(…))
    await world.quiet()
    assert world.types(order_id) == ["OrderPlaced", "PaymentTaken", …]
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import Message
from sagas.flow import Choreography
from sagas.job import Reply
from sagas.kind import Kind
from sagas.participant import Participant
from sagas.ports import Broker, Store, Subscription
from sagas.runner import Runner
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import SeededIds, VirtualClock

__all__ = ["Harness", "RecordingBroker"]

Resources = Callable[[Runner], Mapping[type, object]]


class RecordingBroker:
    """A broker that remembers what was published, each message once, and passes it on."""

    def __init__(self, inner: Broker) -> None:
        self._inner = inner
        self.messages: dict[str, Message] = {}

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        await self._inner.open(queues)

    async def publish(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.setdefault(message.id, message)
        await self._inner.publish(messages)

    def subscribe(self, queue: str, prefetch: int) -> Subscription:
        return self._inner.subscribe(queue, prefetch)

    async def ping(self) -> None:
        await self._inner.ping()

    async def close(self) -> None:
        await self._inner.close()


class Harness:
    """Starts a runner per participant. ``crash`` and ``restart`` work on one of them.

    ``others`` are participants beside the choreography (a tracker). ``broker`` and ``store`` wrap
    the ones in memory, for tests that make them unruly. ``alone`` and ``keep_sent_s`` are as for
    ``Runner``.
    """

    def __init__(
        self,
        choreography: Choreography,
        *,
        resources: Mapping[str, Resources] | None = None,
        others: Sequence[Participant[Any]] = (),
        seed: int = 0,
        broker: Callable[[Harness], Broker] | None = None,
        store: Callable[[str, Store], Store] = lambda name, store: store,
        alone: bool = False,
        keep_sent_s: float = 0.0,
    ) -> None:
        self.choreography = choreography
        self.clock = VirtualClock()
        self.ids = SeededIds(seed, self.clock)
        self.database = MemoryDatabase()
        self.runners: dict[str, Runner] = {}
        self._resources = dict(resources or {})
        self._participants = {each.name: each for each in (*choreography.participants, *others)}
        self._others = tuple(others)
        self._store = store
        self._alone = alone
        self._keep_sent_s = keep_sent_s
        self.broker = RecordingBroker(EmbeddedBroker() if broker is None else broker(self))

    async def __aenter__(self) -> Harness:
        await self.broker.open(self.choreography.queues(*self._others))
        for name in self._participants:
            await self.restart(name)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for name in list(self.runners):
            await self.crash(name)
        await self.broker.close()

    async def restart(self, name: str) -> Runner:
        """Start a participant (again), on what its store holds."""
        if name in self.runners:
            await self.crash(name)
        runner = Runner(
            self._participants[name],
            store=self._store(name, self.database.store(name)),
            broker=self.broker,
            clock=self.clock,
            ids=self.ids,
            resources=self._resources.get(name),
            alone=self._alone,
            keep_sent_s=self._keep_sent_s,
        )
        await runner.start()
        self.runners[name] = runner
        return runner

    def replace_resources(self, resources: Mapping[str, Resources]) -> None:
        """Give these participants other resources from their next start on."""
        self._resources.update(resources)

    async def crash(self, name: str) -> None:
        """Stop a participant at once: what it had not written or acked is forgotten."""
        await self.runners.pop(name).kill()

    async def execute(
        self, name: str, key: str, command: BaseModel, kind: Kind[Any] | None = None, **more: Any
    ) -> Reply:
        """Run a command on a participant's document (its saga kind, unless ``kind``)."""
        runner = self.runners[name]
        return await runner.execute(kind or runner.participant.saga, key, command, **more)

    async def state(self, name: str, key: str, kind: Kind[Any] | None = None) -> Any | None:
        """The stored state of a participant's document."""
        runner = self.runners[name]
        return await runner.get(kind or runner.participant.saga, key)

    def events(self, saga_id: str) -> list[Message]:
        """What was published of a saga, each event once, in the order it first left."""
        return [
            message
            for message in self.broker.messages.values()
            if message.saga_id == saga_id and message.to is None
        ]

    def types(self, saga_id: str) -> list[str]:
        return [message.type for message in self.events(saga_id)]

    async def quiet(self, for_s: float = 5.0, at_most_s: float = 600.0) -> None:
        """Let virtual time pass until nothing was published for ``for_s``."""
        waited, published = 0.0, -1
        while published != len(self.broker.messages):
            if waited >= at_most_s:
                raise AssertionError(f"events kept coming for {at_most_s:g} s")
            published = len(self.broker.messages)
            await asyncio.sleep(for_s)
            waited += for_s

    def check(self) -> None:
        """Raise what a runner's task died of, if any did."""
        for runner in self.runners.values():
            if runner.failed.done():
                runner.failed.result()
