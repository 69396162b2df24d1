"""A broker behind a network: late, in any order, twice, away, or with its confirmation lost.

It keeps its one promise: what it confirmed reaches every queue, at least once.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from sagas.envelope import Message
from sagas.errors import BrokerUnavailable
from sagas.ports import Delivery
from sagas.simulate.process import Life
from sagas.simulate.schedule import FaultKind

__all__ = ["BrokerServer", "Connection"]

PATIENCE_S = 0.5
LATE_S = 1.5
USUAL_S = 0.004
#: In peace one message in so many comes twice, or later than others.
SELDOM = 0.02


class BrokerServer:
    """The queues, which outlive every process. ``published`` hears of what arrives, before all."""

    def __init__(
        self,
        queues: Mapping[str, Sequence[str]],
        chance: random.Random,
        *,
        published: Callable[[Message], None],
        note: Callable[..., None],
    ) -> None:
        self.chance = chance
        self.note = note
        self.away = 0
        self.queues = {name: Queue(name, frozenset(topics)) for name, topics in queues.items()}
        self.connections: list[Connection] = []
        #: Copies on their way to a queue.
        self.travelling = 0
        self._published = published

    @property
    def quiet(self) -> bool:
        """Whether every message is where it was going, and acked."""
        return not self.travelling and all(queue.idle for queue in self.queues.values())

    def connect(self, life: Life) -> Connection:
        connection = Connection(self, life)
        self.connections.append(connection)
        life.endings.append(connection.cut)
        return connection

    def go_away(self) -> None:
        self.away += 1
        for connection in list(self.connections):
            connection.interrupt()

    def come_back(self) -> None:
        self.away -= 1

    def take(self, messages: Sequence[Message]) -> None:
        """Responsibility passes here."""
        for message in messages:
            self._published(message)
            topic = message.topic
            for queue in self.queues.values():
                if topic in queue.topics or "*" in queue.topics:
                    self._send(message, queue)

    def _send(self, message: Message, queue: Queue) -> None:
        chance = self.chance
        copies = 1 + (chance.random() < (0.5 if queue.duplicating else SELDOM))
        for copy in range(copies):
            late = copy or chance.random() < (0.7 if queue.delaying else SELDOM)
            delay_s = chance.random() * (2.0 if late else USUAL_S)
            self.travelling += 1
            asyncio.get_running_loop().call_later(delay_s, self._arrive, message, queue)

    def _arrive(self, message: Message, queue: Queue) -> None:
        self.travelling -= 1
        queue.put(Delivery(message))


class Queue:
    """One participant's queue; several subscriptions share it."""

    def __init__(self, name: str, topics: frozenset[str]) -> None:
        self.name = name
        self.topics = topics
        self.waiting: deque[Delivery] = deque()
        self.subscriptions: list[Subscribed] = []
        self.duplicating = 0
        self.delaying = 0

    @property
    def idle(self) -> bool:
        return not self.waiting and not any(each.unacked for each in self.subscriptions)

    def put(self, delivery: Delivery) -> None:
        self.waiting.append(delivery)
        for subscription in self.subscriptions:
            subscription.wake()


class Connection:
    """``Broker`` as one life of a process sees it."""

    def __init__(self, server: BrokerServer, life: Life) -> None:
        self.server = server
        self.life = life
        self._subscriptions: list[Subscribed] = []

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        """They are there from the world's beginning."""

    async def publish(self, messages: Sequence[Message]) -> None:
        life, server, loop = self.life, self.server, asyncio.get_running_loop()
        fate = life.reach("before publish")
        if life.held_up:
            await life.go_on()
        answer: asyncio.Future[None] = loop.create_future()
        if server.away or fate is FaultKind.REQUEST_LOST:
            loop.call_later(PATIENCE_S, _fail, answer)
        else:
            late = fate is FaultKind.REQUEST_LATE
            delay_s = LATE_S if late else server.chance.random() * USUAL_S
            sent = [message.without_event() for message in messages]
            if late:
                loop.call_later(PATIENCE_S, _fail, answer)
            loop.call_later(delay_s, self._serve, answer, sent, fate)
        await answer
        life.reach("after publish")
        if life.held_up:
            await life.go_on()

    def _serve(
        self, answer: asyncio.Future[None], sent: Sequence[Message], fate: FaultKind | None
    ) -> None:
        loop = asyncio.get_running_loop()
        if self.server.away:
            loop.call_later(PATIENCE_S, _fail, answer)
            return
        if fate is FaultKind.ANSWER_LOST:
            # As when the connection breaks in the middle of a batch: some arrived, none confirmed.
            sent = sent[: 1 + self.server.chance.randrange(len(sent))]
            loop.call_later(PATIENCE_S, _fail, answer)
        self.server.take(sent)
        if fate is not FaultKind.ANSWER_LOST:
            loop.call_later(self.server.chance.random() * USUAL_S, _confirm, answer)

    def subscribe(self, queue: str, prefetch: int) -> Subscribed:
        subscription = Subscribed(self, self.server.queues[queue], prefetch)
        self._subscriptions.append(subscription)
        return subscription

    async def ping(self) -> None:
        if self.server.away:
            raise BrokerUnavailable("the simulated broker is away")

    async def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """The process is gone: what it had not acked goes to another."""
        for subscription in self._subscriptions:
            subscription.leave()
        if self in self.server.connections:
            self.server.connections.remove(self)

    def interrupt(self) -> None:
        for subscription in self._subscriptions:
            subscription.give_back()


class Subscribed:
    """``Subscription`` of one life of a process."""

    def __init__(self, connection: Connection, queue: Queue, prefetch: int) -> None:
        self.unacked: dict[Delivery, None] = {}
        self._server = connection.server
        self._life = connection.life
        self._queue = queue
        self._prefetch = prefetch
        self._waiter: asyncio.Future[None] | None = None
        queue.subscriptions.append(self)

    async def next(self, limit: int) -> list[Delivery]:
        while True:
            if self._life.held_up:
                await self._life.go_on()
            if self._server.away:
                raise BrokerUnavailable("the simulated broker is away")
            room = min(limit, self._prefetch - len(self.unacked), len(self._queue.waiting))
            if room > 0:
                taken = [self._queue.waiting.popleft() for _ in range(room)]
                self.unacked.update(dict.fromkeys(taken))
                for delivery in taken:
                    self._tell("hears", delivery)
                return taken
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        self._life.reach("before ack")
        if not self._life.alive or self._server.away:
            return
        for delivery in deliveries:
            # One that is not held went back to the queue: it belongs to whoever gets it next.
            self.unacked.pop(delivery, None)
        self.wake()
        self._life.reach("after ack")

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        held = [each for each in deliveries if self.unacked.pop(each, "not held") is None]
        self._put_back(held)

    async def close(self) -> None:
        self.leave()

    def leave(self) -> None:
        if self in self._queue.subscriptions:
            self._queue.subscriptions.remove(self)
        self.give_back()

    def give_back(self) -> None:
        """The connection is lost: everything unacked will come again, later, to anybody."""
        held, self.unacked = list(self.unacked), {}
        self._put_back(held)
        self.wake()

    def _put_back(self, held: Sequence[Delivery]) -> None:
        for old in reversed(held):
            again = Delivery(old.message, redelivered=old.redelivered + 1)
            self._queue.waiting.appendleft(again)
        for subscription in self._queue.subscriptions:
            subscription.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tell(self, what: str, delivery: Delivery) -> None:
        message = delivery.message
        assert message is not None
        again = "again" if delivery.redelivered else ""
        source = message.source.removeprefix("/")
        who = self._life.process.name
        self._server.note(who, what, message.type, message.subject, f"from {source}", again)


def _confirm(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


def _fail(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(BrokerUnavailable("the simulated broker did not confirm"))
