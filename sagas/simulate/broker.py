"""A broker behind a network: late, in any order, twice, away, or with its confirmation lost.

It keeps its one promise: what it confirmed reaches every queue, at least once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sagas.envelope import Message
from sagas.errors import BrokerUnavailable
from sagas.ports import Delivery
from sagas.simulate.network import Network
from sagas.simulate.process import Life
from sagas.simulate.queues import Queue, Subscribed
from sagas.simulate.schedule import FaultKind

__all__ = ["BrokerServer", "Connection"]

#: How long a publisher waits, and after how long a late request is done.
PATIENCE_S = 0.5
LATE_S = 1.5
USUAL_S = 0.004
#: A message that is late comes within so many seconds: in peace, and under faults.
LATER_S = 0.5
LATEST_S = 2.0
#: The share of confirmations that take no time.
CONFIRMED_AT_ONCE = 0.6
#: … and of messages that are in their queue as soon as they are taken, several as one batch.
THERE_AT_ONCE = 0.4


class BrokerServer:
    """The queues, which outlive every process. ``published`` hears of what arrives, before all."""

    def __init__(
        self,
        queues: Mapping[str, Sequence[str]],
        network: Network,
        *,
        embedded: bool,
        published: Callable[[Message], None],
        note: Callable[..., None] | None,
    ) -> None:
        self.embedded = embedded
        self.network = network
        self.loop = network.loop
        self.note = note
        self.away = 0
        self.queues = {name: Queue(name, frozenset(topics)) for name, topics in queues.items()}
        self.connections: list[Connection] = []
        #: Requests on their way here, and copies on their way to a queue.
        self.travelling = 0
        self._published = published
        self._routes: dict[str, list[Queue]] = {}

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
            for queue in self._route(message.topic):
                self._send(message, queue)

    def _route(self, topic: str) -> list[Queue]:
        route = self._routes.get(topic)
        if route is None:
            heard = [each for each in self.queues.values() if {topic, "*"} & each.topics]
            route = self._routes[topic] = heard
        return route

    def _send(self, message: Message, queue: Queue) -> None:
        part = self.network.draw()
        if part < queue.share_late:
            self._send_late(message, queue)
        elif not self.network.even and part > 1 - THERE_AT_ONCE:
            queue.put(Delivery(message))
        else:
            self.travelling += 1
            self.network.send(USUAL_S, self._arrive, message, queue)
        if part > 1 - queue.share_twice:
            self._send_late(message, queue)

    def _send_late(self, message: Message, queue: Queue) -> None:
        longest_s = LATEST_S if queue.delaying or queue.duplicating else LATER_S
        self.travelling += 1
        self.loop.after(self.network.draw() * longest_s, self._arrive, message, queue)

    def _arrive(self, message: Message, queue: Queue) -> None:
        self.travelling -= 1
        queue.put(Delivery(message))


class Connection:
    """``Broker`` as one life of a process sees it."""

    def __init__(self, server: BrokerServer, life: Life) -> None:
        self.server = server
        self.life = life
        self._subscriptions: list[Subscribed] = []

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        """They are there from the world's beginning."""

    async def publish(self, messages: Sequence[Message]) -> None:
        life, server, loop = self.life, self.server, self.server.loop
        fate = await life.pass_by("before publish") if life.hindered else None
        answer: asyncio.Future[None] = asyncio.Future(loop=loop)
        if server.away or fate is FaultKind.REQUEST_LOST:
            loop.after(PATIENCE_S, _fail, answer)
        else:
            # Within one process events travel as they are; between processes, only their bytes.
            inside = server.embedded
            sent = [each if inside else each.without_event() for each in messages]
            late = fate is FaultKind.REQUEST_LATE
            if late:
                loop.after(PATIENCE_S, _fail, answer)
            server.travelling += 1
            if late:
                loop.after(LATE_S, self._serve, answer, sent, fate)
            else:
                server.network.send(USUAL_S, self._serve, answer, sent, fate)
        await answer
        if life.hindered:
            await life.pass_by("after publish")

    def _serve(
        self, answer: asyncio.Future[None], sent: Sequence[Message], fate: FaultKind | None
    ) -> None:
        server, loop = self.server, self.server.loop
        server.travelling -= 1
        if server.away:
            loop.after(PATIENCE_S, _fail, answer)
            return
        if fate is FaultKind.ANSWER_LOST:
            # As when the connection breaks in the middle of a batch: some arrived, and perhaps it
            # was even heard which.
            sent = sent[: 1 + server.network.chance.randrange(len(sent))]
            heard = sent if server.network.draw() < 0.5 else ()
            loop.after(PATIENCE_S, _fail, answer, frozenset(each.id for each in heard))
        server.take(sent)
        if fate is FaultKind.ANSWER_LOST:
            return
        if server.network.at_once(CONFIRMED_AT_ONCE):
            _confirm(answer)
        else:
            server.network.send(USUAL_S, _confirm, answer)

    def subscribe(self, queue: str, prefetch: int) -> Subscribed:
        server = self.server
        subscription = Subscribed(server, self.life, server.queues[queue], prefetch)
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


def _confirm(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_result(None)


def _fail(answer: asyncio.Future[None], taken: frozenset[str] = frozenset()) -> None:
    if not answer.done():
        error = BrokerUnavailable("the simulated broker did not confirm", taken=taken)
        answer.set_exception(error)
