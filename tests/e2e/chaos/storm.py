"""What the blows do to the shop and to its servers. Each strikes for certain, or raises."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import aio_pika
from aio_pika.exceptions import DeliveryError

from tests.e2e.chaos.schedule import Blow, Kind
from tests.e2e.chaos.servers import Servers
from tests.e2e.kill.process import ShopProcess
from tests.mongodb.proxy import Proxy as MongoProxy
from tests.rabbitmq.proxy import Proxy as RabbitProxy

__all__ = ["MAX_LENGTH", "NAMESPACE", "Network", "Storm"]

NAMESPACE = "chaos"
#: Messages that a queue may hold: few, so that it can be filled.
MAX_LENGTH = 100
#: More than a queue and its consumer's prefetch take in together.
ENOUGH = 2_000
FROZEN_S = 10.0
FULL_S = 3.0
#: A service that was killed comes back after a pause of at most 30 s; a server after some five.
STRIKES_WITHIN_S = 180.0
#: An event that each participant hears, with which its queue is filled.
HEARD = {
    "order": "PaymentTaken",
    "payment": "OrderPlaced",
    "inventory": "PaymentTaken",
    "shipping": "StockReserved",
}


@dataclass(frozen=True, slots=True)
class Network:
    """The ways from the shop to its servers."""

    rabbitmq: RabbitProxy
    mongodb: MongoProxy


class Storm:
    """Strikes with one blow at a time at each target; ``told`` hears what was done."""

    def __init__(
        self,
        shop: ShopProcess,
        servers: Servers,
        network: Network,
        told: Callable[[Blow, str], None],
    ) -> None:
        self._shop = shop
        self._servers = servers
        self._network = network
        self._told = told
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._heard: dict[str, aio_pika.Message] = {}
        #: Processes of services that were killed.
        self.killed = 0

    async def gather(self) -> None:
        """Overhear events with which queues are filled; returns once orders have come."""
        events = sorted(set(HEARD.values()))
        connection = await aio_pika.connect(self._servers.amqp_url)
        async with asyncio.timeout(STRIKES_WITHIN_S), connection, connection.channel() as channel:
            heard = await asyncio.gather(*(_overheard(channel, event) for event in events))
        self._heard = dict(zip(events, heard, strict=True))

    async def strike(self, blow: Blow) -> None:
        """Returns when the blow is over; a server is there again by then."""
        async with asyncio.timeout(STRIKES_WITHIN_S):
            match blow.kind:
                case Kind.KILL_SERVICE | Kind.KILL_TRACKER:
                    async with self._turns[blow.target]:
                        await self._kill(blow.target)
                        self._told(blow, "")
                case Kind.RESTART_RABBITMQ | Kind.RESTART_MONGODB:
                    await self._restart(blow)
                case Kind.FREEZE_RABBITMQ | Kind.FREEZE_MONGODB:
                    async with self._turns[blow.target]:
                        self._told(blow, f"for {FROZEN_S:g} s")
                        await self._servers.freeze(blow.target, FROZEN_S)
                case Kind.CUT:
                    await self._cut(blow)
                case Kind.FILL_QUEUE:
                    await self._fill(blow)

    async def _kill(self, name: str) -> None:
        """Returns when it has ended: who strikes next must not meet a process that is dying."""
        pid = await self._process(name)
        os.kill(pid, signal.SIGKILL)
        self.killed += 1
        while pid in self._shop.instances(name):  # noqa: ASYNC110 - no child of ours
            await asyncio.sleep(0.05)

    async def _restart(self, blow: Blow) -> None:
        async with self._turns[blow.target]:
            self._told(blow, "")
            if blow.how == "SIGKILL":
                await self._servers.kill(blow.target)
            else:
                await self._servers.stop(blow.target)
            await self._servers.start(blow.target)

    async def _cut(self, blow: Blow) -> None:
        """While the server is away there is nothing to cut."""
        proxy = self._network.rabbitmq if blow.target == "rabbitmq" else self._network.mongodb
        async with self._turns[blow.target]:
            while not (cut := proxy.cut(1 if blow.how == "one" else None)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            self._told(blow, f"{cut} cut")

    async def _fill(self, blow: Blow) -> None:
        """Its consumer stands still, and its queue gets an event again and again, until the server
        refuses more: by contract every event may come any number of times."""
        async with self._turns[blow.target]:
            pid = await self._process(blow.target)
            async with self._turns["rabbitmq"]:
                os.kill(pid, signal.SIGSTOP)
                try:
                    taken = await self._stuff(blow.target)
                    self._told(blow, f"refuses more after {taken} messages")
                    await asyncio.sleep(FULL_S)  # that long it is full
                finally:
                    os.kill(pid, signal.SIGCONT)

    async def _stuff(self, target: str) -> int:
        """How many messages the queue took until it refused one. Past the proxy, so that no other
        blow cuts it short."""
        event, queue = self._heard[HEARD[target]], f"{NAMESPACE}.{target}"
        connection = await aio_pika.connect(self._servers.amqp_url)
        async with connection, connection.channel(on_return_raises=True) as channel:
            for sent in range(0, ENOUGH, MAX_LENGTH):
                answers = await asyncio.gather(
                    *(channel.default_exchange.publish(event, queue) for _ in range(MAX_LENGTH)),
                    return_exceptions=True,
                )
                refused = [each for each in answers if isinstance(each, BaseException)]
                if others := [each for each in refused if not isinstance(each, DeliveryError)]:
                    raise others[0]
                if refused:
                    return sent + MAX_LENGTH - len(refused)
        raise AssertionError(f"{queue} has taken {ENOUGH} messages")

    async def _process(self, name: str) -> int:
        """The service's, once it is there: it may have been killed a moment ago."""
        while not (found := self._shop.instances(name)):  # noqa: ASYNC110 - no child of ours
            await asyncio.sleep(0.05)
        return found[0]


async def _overheard(channel: aio_pika.abc.AbstractChannel, event: str) -> aio_pika.Message:
    """A copy of the next such event that anybody publishes."""
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(f"{NAMESPACE}.events", event)
    async with queue.iterator() as heard:
        message = await anext(heard)
        await message.ack()
    return aio_pika.Message(
        message.body,
        headers=message.headers,
        content_type=message.content_type,
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
    )
