"""RabbitMQ through aio-pika: the broker of a real deployment.

    amqp://user:password@host:5672/vhost?namespace=shop

Publishing and consuming have a connection each: a server that holds back publishers (an alarm, a
full queue) must not hold back their acks. So has the net below them: what made the server give a
message up may be what breaks a connection. All are kept, see ``rabbitmq_link``; without a server
everything waits, says what for, and goes on by itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Mapping, Sequence
from weakref import WeakSet

from yarl import URL

from sagas.brokers.rabbitmq_link import FAULTS, Link, Outage, broken_is_no_cancel, described
from sagas.brokers.rabbitmq_net import Net
from sagas.brokers.rabbitmq_publisher import Publisher
from sagas.brokers.rabbitmq_subscription import RabbitSubscription
from sagas.brokers.rabbitmq_topology import DELIVERY_LIMIT, MAX_LENGTH, Topology
from sagas.envelope import Message
from sagas.errors import BrokerUnavailable, SettingError

__all__ = ["RabbitBroker"]

log = logging.getLogger(__name__)

PUBLISH_WITHIN_S = 5.0
DECLARE_WITHIN_S = 10.0
#: Less than a readiness check waits, so that what it shows is what we say.
PING_WITHIN_S = 1.5
#: Seconds between heartbeats: a frozen connection is noticed after some three of them.
HEARTBEAT_S = "10"
#: What may stand in the query of the URL: ours, and aiormq's.
OURS = {"namespace", "delivery_limit", "max_length"}
THEIRS = {"heartbeat", "cafile", "capath", "certfile", "keyfile", "no_verify_ssl", "auth"}


class RabbitBroker:
    """``Broker`` on a RabbitMQ server, 3.10 or later. Raises ``SettingError`` for a wrong URL.

    ``namespace`` (in the URL's query) begins the names of everything on the server; so do
    ``delivery_limit`` and ``max_length`` of the queues stand there.
    """

    def __init__(self, url: str) -> None:
        self._url, settings = _read(url)
        self._topology = Topology(
            settings["namespace"],
            delivery_limit=_whole(settings, "delivery_limit", DELIVERY_LIMIT),
            max_length=_whole(settings, "max_length", MAX_LENGTH),
        )
        outage = Outage()
        self._publishing = Link(self._url, "publishes", self._topology.declare, outage)
        self._consuming = Link(self._url, "consumes", self._topology.declare, outage)
        self._catching = Link(self._url, "catches", self._topology.declare, outage)
        self._links = (self._publishing, self._consuming, self._catching)
        self._publisher = Publisher(
            self._publishing, self._topology, self._declare_again, within_s=PUBLISH_WITHIN_S
        )
        self._subscriptions: WeakSet[RabbitSubscription] = WeakSet()
        self._net: Net | None = None
        self._closed = False

    @property
    def sent(self) -> int:
        """Broker messages confirmed so far: fewer than events, when those travelled together."""
        return self._publisher.sent

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Declare queues; without a server, as soon as there is one.

        Raises ``SettingError`` when the server does not let us in, or has a queue that is declared
        otherwise.
        """
        self._check_open()
        self._topology.add(queues)
        was_up = self._publishing.is_up
        await asyncio.gather(*(link.start() for link in self._links))
        if was_up:
            await self._declare()
        if self._net is None:
            self._net = Net(
                self._catching, self._topology, self._publisher.put, self._declare_again
            )

    async def publish(self, messages: Sequence[Message]) -> None:
        self._check_open()
        await self._publisher.publish(messages)

    async def refill(self, queue: str, messages: Sequence[Message]) -> None:
        """Put these into one queue; return when the server has confirmed them."""
        self._check_open()
        await self._publisher.refill(self._topology.queue(queue), messages)

    def subscribe(self, queue: str, prefetch: int) -> RabbitSubscription:
        """Start to consume. ``ValueError`` for a queue that was not declared."""
        self._check_open()
        if prefetch < 1:
            raise ValueError(f"prefetch must be at least 1, not {prefetch}")
        name = self._topology.queue(queue)
        subscription = RabbitSubscription(self._consuming, name, prefetch, self._declare_again)
        self._subscriptions.add(subscription)
        return subscription

    async def ping(self) -> None:
        """Ask the server something on the publishing connection: it must answer."""
        self._check_open()
        self._consuming.now()
        connection = self._publishing.now()
        try:
            with broken_is_no_cancel():
                async with asyncio.timeout(PING_WITHIN_S):
                    channel = connection.channel(publisher_confirms=False)
                    await channel.initialize()
                    await channel.close()
        except FAULTS as error:
            raise BrokerUnavailable(f"{self._publishing.place}: {described(error)}") from error

    async def close(self) -> None:
        self._closed = True
        consumers: list[RabbitSubscription | Net] = [*self._subscriptions]
        if self._net is not None:
            consumers.append(self._net)
        await asyncio.gather(*(each.close() for each in consumers))
        await asyncio.gather(*(link.close() for link in self._links))
        await self._publisher.close()

    async def _declare(self) -> None:
        """Declare everything now; if the connection breaks meanwhile, the next one does."""
        try:
            with broken_is_no_cancel():
                async with asyncio.timeout(DECLARE_WITHIN_S):
                    await self._topology.declare(self._publishing.now())
        except (BrokerUnavailable, *FAULTS) as error:
            log.warning("%s: not all is declared yet: %s", self._publishing.place, error)

    async def _declare_again(self) -> None:
        """Something was deleted while we run: nobody is there to be told that it differs now."""
        try:
            await self._declare()
        except SettingError as error:
            log.error("%s", error)

    def _check_open(self) -> None:
        if self._closed:
            raise BrokerUnavailable("the broker was closed: open a new one, then go on")


def _read(text: str) -> tuple[URL, dict[str, str]]:
    """The URL as aio-pika wants it, and what of its query is ours."""
    try:
        url = URL(text)
        known = url.scheme in ("amqp", "amqps") and url.host is not None and url.port != 0
    except ValueError:
        known = False
    if not known:
        raise SettingError("the broker URL is not of the form amqp://user:password@host:port/vhost")
    if unknown := sorted(set(url.query) - OURS - THEIRS):
        raise SettingError(
            f"the broker URL asks for {', '.join(unknown)}: known are "
            f"{', '.join(sorted(OURS | THEIRS))}"
        )
    port = {"amqp": 5672, "amqps": 5671}[url.scheme]
    settings = {"namespace": "sagas", **{name: url.query[name] for name in OURS & set(url.query)}}
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", settings["namespace"]):
        raise SettingError(
            f"namespace={settings['namespace']!r} in the broker URL: letters, digits, - and _"
        )
    theirs = {
        "heartbeat": HEARTBEAT_S,
        **{name: url.query[name] for name in THEIRS & set(url.query)},
    }
    _check_files(theirs)
    _whole(
        theirs, "heartbeat", int(HEARTBEAT_S), highest=600
    )  # aiormq would take anything else for none
    return url.with_port(url.port or port).with_query(theirs), settings


def _check_files(settings: Mapping[str, str]) -> None:
    """No waiting brings what TLS needs: it is opened once, now, to say so."""
    for name in ("cafile", "capath", "certfile", "keyfile"):
        path = settings.get(name)
        if path is not None and not os.access(path, os.R_OK):
            raise SettingError(f"{name}={path!r} in the broker URL cannot be read: name another")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    given = ", ".join(name for name in ("cafile", "certfile", "keyfile") if name in settings)
    try:
        if "cafile" in settings:
            context.load_verify_locations(settings["cafile"])
        if "certfile" in settings:
            context.load_cert_chain(settings["certfile"], settings.get("keyfile"))
    except OSError as error:
        raise SettingError(f"{given} in the broker URL cannot be used: {error}") from error


def _whole(
    settings: Mapping[str, str], name: str, default: int, *, highest: int = 1_000_000_000
) -> int:
    text = settings.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= highest:
        raise SettingError(f"{name}={text} in the broker URL: a whole number from 1 to {highest:,}")
    return int(text)
