"""One connection to RabbitMQ, kept: made again, with growing pauses, whenever it is lost.

Plain connections, not aio-pika's robust ones: those restore what they remember of a channel, but
not a consumer whose queue was deleted, and they tell nobody that what was unacked is void now.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import aio_pika
from aio_pika.abc import AbstractConnection
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from sagas.brokers.rabbitmq_frames import made_readable
from sagas.errors import BrokerUnavailable, SettingError
from sagas.reaction import RetryPolicy

__all__ = ["FAULTS", "Link", "Outage", "broken_is_no_cancel", "described"]

log = logging.getLogger(__name__)

#: What aio-pika raises when something is wrong with a connection, a channel or the server; and
#: one thing more, see ``broken_is_no_cancel``.
FAULTS = (*CONNECTION_EXCEPTIONS, TimeoutError)

BACKOFF = RetryPolicy(first_s=0.1, cap_s=5.0, jitter=0.5)
CONNECT_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0
#: A first try has had its answer by then, or goes on without anybody's waiting for it.
START_WITHIN_S = CONNECT_WITHIN_S + 2 * CLOSE_WITHIN_S
#: A connection that is lost sooner counts as one that was not made: what broke it may come again.
LASTING_S = 10.0
#: An outage that lasts is told of again after so long.
REMIND_S = 60.0


class Outage:
    """What the log hears of a server that is away: once that it is, a reminder every minute, once
    that it is back. Shared by the links to one server, which lose it together.
    """

    def __init__(self) -> None:
        self._without: set[Link] = set()
        self._remind_at = 0.0
        self._told = ""

    def begins(self, link: Link, *, curable: bool = True) -> None:
        """This link has no connection, or failed once more to get one. What no waiting cures is
        told even amid an outage."""
        now = asyncio.get_running_loop().time()
        is_news = not curable and link.fault != self._told
        if not self._without or now >= self._remind_at or is_news:
            log.warning("%s; it is tried until it works", link.fault)
            self._remind_at, self._told = now + REMIND_S, link.fault
        self._without.add(link)

    def ends(self, link: Link) -> None:
        """This link is connected."""
        if link in self._without:
            self._without.remove(link)
            if not self._without:
                log.warning("%s: connected again", link.place)


class Link:
    """``prepare`` is awaited on each new connection before anybody else may use it.

    It raises ``SettingError`` for what no waiting cures (a queue that is declared otherwise): at
    the start that ends the process, later it is what ``fault`` says while tries go on.
    """

    def __init__(
        self,
        url: URL,
        purpose: str,
        prepare: Callable[[AbstractConnection], Awaitable[None]],
        outage: Outage,
    ) -> None:
        self._url = url
        self._purpose = purpose
        self._prepare = prepare
        self._outage = outage
        self._connection: _Connection | None = None
        self._up = asyncio.Event()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self.place = f"RabbitMQ at {url.host}:{url.port}"
        #: Why there is no connection.
        self.fault = f"{self.place}: not connected yet"

    async def start(self) -> None:
        """Connect, and return once that worked or not; raise what waiting does not cure.

        Safe to repeat. Without a server it is tried on and on.
        """
        if self._task is None or self._task.done():
            self._tried.clear()
            self._task = asyncio.create_task(self._keep(), name=f"{self._purpose} RabbitMQ link")
            self._task.add_done_callback(self._ended)
        with suppress(TimeoutError):
            async with asyncio.timeout(START_WITHIN_S):
                await self._tried.wait()
        if self._task.done():
            self._task.result()

    @property
    def is_up(self) -> bool:
        return self._up.is_set()

    def now(self) -> AbstractConnection:
        """The connection. Raises ``BrokerUnavailable`` when there is none at the moment."""
        if self._connection is None:
            raise BrokerUnavailable(self.fault)
        return self._connection

    async def soon(self) -> AbstractConnection:
        """The connection, once there is one. Raises ``BrokerUnavailable`` when closed."""
        while self._connection is None:
            if self._closed:
                raise BrokerUnavailable(self.fault)
            await self._up.wait()
        return self._connection

    def drop(self, connection: AbstractConnection, why: str) -> None:
        """It does not answer any more: cut it, so that a new one is made."""
        if connection is self._connection and isinstance(connection, _Connection):
            log.warning("%s; connecting anew", why)
            connection.cut()

    async def close(self) -> None:
        """Let go of the connection, politely if it answers. Safe to repeat."""
        self._closed = True
        self.fault = "the broker was closed: open a new one, then go on"
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._up.set()  # whoever waits for it is told

    async def _keep(self) -> None:
        failed = brief = 0
        while True:
            try:
                connection = await self._connect()
            except (SettingError, *FAULTS) as error:
                self.fault = str(error)
                if not isinstance(error, SettingError):
                    self.fault = f"{self.place}: {described(error)}"
                elif not self._tried.is_set():
                    self._tried.set()
                    raise
                failed += 1
                self._outage.begins(self, curable=not isinstance(error, SettingError))
                self._tried.set()
                await asyncio.sleep(BACKOFF.wait_s(failed, random.random()))
                continue
            failed = 0
            self._outage.ends(self)
            made_at = asyncio.get_running_loop().time()
            await self._hold(connection)
            lasted_s = asyncio.get_running_loop().time() - made_at
            brief = 0 if lasted_s > LASTING_S else brief + 1
            if brief:
                await asyncio.sleep(BACKOFF.wait_s(brief, random.random()))

    async def _hold(self, connection: _Connection) -> None:
        """Let it be used until it is lost."""
        try:
            self._connection = connection
            self._up.set()
            self._tried.set()
            await connection.lost.wait()
            self.fault = f"{self.place}: the connection was lost"
            self._outage.begins(self)
        finally:
            self._connection = None
            self._up.clear()
            await connection.let_go()

    async def _connect(self) -> _Connection:
        connection = _Connection(self._url, self._purpose)
        try:
            with broken_is_no_cancel():
                async with asyncio.timeout(CONNECT_WITHIN_S):
                    await connection.connect()
                    await self._prepare(connection)
        except BaseException as error:
            await connection.let_go()
            explained = self._explained(error)
            if explained is error:
                raise
            raise explained from error
        return connection

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Nothing connects any more: a fault of ours, and not to be silent about."""
        self._tried.set()  # whoever starts it is told as well
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, SettingError):
            log.critical("%s died", task.get_name(), exc_info=error)

    def _explained(self, error: BaseException) -> BaseException:
        user = self._url.user
        if isinstance(error, ProbableAuthenticationError):
            return SettingError(f"{self.place} refuses user {user!r}: check the broker URL")
        if isinstance(error, InvalidFrameError) and "Connection.OpenOk" in str(error):
            # What aiormq makes of the server's "not allowed".
            vhost = self._url.path.removeprefix("/") or "/"
            return SettingError(
                f"{self.place} has no virtual host {vhost!r} for user {user!r}: make it, or check "
                f"the path of the broker URL"
            )
        return error


class _Connection(aio_pika.Connection):
    """A connection that can be cut: closing one politely hangs when the other side is frozen."""

    def __init__(self, url: URL, purpose: str) -> None:
        super().__init__(url, client_properties={"connection_name": purpose})
        plain = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        self._socket = _Socket(plain)
        self.kwargs["transport_factory"] = self._socket
        #: Set when it is lost, or closed.
        self.lost = asyncio.Event()
        self.close_callbacks.add(lambda *_: self.lost.set())

    def cut(self) -> None:
        if self._socket.writer is not None:
            self._socket.writer.transport.abort()

    async def let_go(self) -> None:
        """Close it, politely if it answers."""
        try:
            with broken_is_no_cancel():
                async with asyncio.timeout(CLOSE_WITHIN_S):
                    await self.close()
        except FAULTS as error:
            log.debug("closing: %s", error)
        finally:
            self.cut()


class _Socket(TransportFactory):
    """Makes the socket as usual, remembers it, and has what comes from it made readable."""

    def __init__(self, usual: TransportFactory) -> None:
        self._usual = usual
        self.writer: asyncio.StreamWriter | None = None

    async def create(
        self, url: URL, **kwargs: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, self.writer = await self._usual.create(url, **kwargs)
        return made_readable(reader), self.writer


@contextmanager
def broken_is_no_cancel() -> Iterator[None]:
    """aio-pika raises CancelledError, though nobody cancelled, when a connection breaks amid an
    answer; or a bare ``Exception`` that comes of one. Whoever believed it would end: here it
    becomes a ``ConnectionError``. Of a cancellation that was meant it makes no secret.
    """
    try:
        yield
    except asyncio.CancelledError as error:
        if _is_meant():
            raise
        raise ConnectionError("the connection broke") from error
    except Exception as error:
        if type(error) is not Exception or not isinstance(error.__cause__, asyncio.CancelledError):
            raise
        if _is_meant():
            raise asyncio.CancelledError from error
        raise ConnectionError("the connection broke") from error


def _is_meant() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def described(error: BaseException) -> str:
    """What went wrong, for people."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    said = str(error) or type(error).__name__
    # aiormq says it in several ways, with addresses of its objects; once by the end of a loop.
    ended = isinstance(error, StopAsyncIteration) or re.search(r" closed\b", said)
    return "the connection was lost" if ended else said
