"""One consumer of one queue, kept: it consumes again whenever its channel or its queue is lost."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from aio_pika.abc import AbstractChannel as Channel
from aio_pika.abc import AbstractConnection
from aiormq.abc import AbstractChannel as RawChannel
from aiormq.abc import DeliveredMessage

from sagas.brokers.rabbitmq_link import BACKOFF, FAULTS, Link, broken_is_no_cancel, described
from sagas.errors import BrokerUnavailable

__all__ = ["Consumer", "RawChannel"]

log = logging.getLogger(__name__)

#: `basic.consume` is not answered when a quorum queue has no leader.
CONSUME_WITHIN_S = 10.0
CLOSE_WITHIN_S = 2.0


class Consumer:
    """Calls ``arrived`` for each message, and ``lost`` with the reason when a channel is lost: what
    was not settled by then will come again. ``deleted`` is awaited when the queue was deleted.

    Of the raw channel: aio-pika's own messages and queues cost as much again for each message.
    """

    def __init__(
        self,
        link: Link,
        queue: str,
        prefetch: int,
        *,
        arrived: Callable[[DeliveredMessage], None],
        lost: Callable[[str], None],
        deleted: Callable[[], Awaitable[None]],
    ) -> None:
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._arrived = arrived
        self._lost = lost
        self._deleted = deleted
        self._channel: RawChannel | None = None
        self._settled: list[tuple[int, bool]] = []
        #: What of it the server is being told: an answer leaves when it has been said, not before.
        self._answers: deque[Callable[[], Awaitable[None]]] = deque()
        self._settlements = _Settlements()
        self._flush = asyncio.Event()
        self.task = asyncio.create_task(self._keep_consuming(), name=f"consumes {queue}")

    def settle(self, channel: RawChannel, tag: int, *, acked: bool) -> None:
        """Ack or reject a message soon; nothing, if its channel is gone."""
        if channel is self._channel:
            self._settled.append((tag, acked))
            self._flush.set()

    async def close(self) -> None:
        """Say what is settled, and give the rest back."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    # ---------------------------------------------------------------------------------- consuming

    async def _keep_consuming(self) -> None:
        failed = 0
        while True:
            try:
                connection = await self._link.soon()
                with broken_is_no_cancel():
                    why = await self._consume_on(connection)
                failed = 0
            except BrokerUnavailable as error:
                return self._lost(str(error))
            except FAULTS as error:
                why = described(error)
            self._lost(f"{self._link.place}, queue {self._queue}: {why}")
            failed += 1
            await asyncio.sleep(BACKOFF.wait_s(failed, random.random()))

    async def _consume_on(self, connection: AbstractConnection) -> str:
        """Consume until the channel is lost; why it was."""
        channel = connection.channel(publisher_confirms=False)
        try:
            async with asyncio.timeout(CONSUME_WITHIN_S):
                raw = await self._consume(channel)
            why = await self._until_lost(channel, raw)
        finally:
            self._channel = None
            await _let_go(channel)
        if why == _DELETED:
            await self._declare_again()
        return why

    async def _consume(self, channel: Channel) -> RawChannel:
        await channel.initialize()
        raw = await channel.get_underlay_channel()
        await raw.basic_qos(prefetch_count=self._prefetch)
        self._channel, self._settlements = raw, _Settlements()
        self._settled.clear()
        self._answers.clear()

        async def arrived(message: DeliveredMessage) -> None:
            self._arrived(message)

        await raw.basic_consume(self._queue, arrived)
        return raw

    async def _until_lost(self, channel: Channel, raw: RawChannel) -> str:
        """Settle until the channel is lost; why it was."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def lose(why: str) -> None:
            if not lost.done():
                lost.set_result(why)

        channel.close_callbacks.add(lambda *_: lose("the connection was lost"))
        raw.on_consumer_cancel_callbacks.add(lambda _: lose(_DELETED))
        settling = asyncio.create_task(self._settle_on(raw), name=f"acks {self._queue}")
        ends: set[asyncio.Future[Any]] = {lost, settling}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            if not channel.is_closed:
                # What is done is done: say so before the rest goes back to the queue. If that
                # cannot be said, it comes again; it must not stand in the way of the end.
                with suppress(*FAULTS), broken_is_no_cancel():
                    async with asyncio.timeout(CLOSE_WITHIN_S):
                        await self._tell(raw)
        return lost.result() if lost.done() else "it takes no more acks"

    async def _declare_again(self) -> None:
        log.error(
            "%s: queue %s was deleted under its consumer; it is declared anew, and what it held "
            "comes back with `sagas republish`",
            self._link.place,
            self._queue,
        )
        await self._deleted()

    # ----------------------------------------------------------------------------------- settling

    async def _settle_on(self, channel: RawChannel) -> None:
        """Tell the server what is settled, until cancelled. What gathers goes together."""
        while True:
            await self._flush.wait()
            self._flush.clear()
            await self._tell(channel)

    async def _tell(self, channel: RawChannel) -> None:
        """Safe to cancel: what was not said by then is said by the next call."""
        settled, self._settled = self._settled, []
        for tag, acked in settled:
            if not acked:
                self._settlements.rejected(tag)
                # reject, not nack: only reject is sure to count towards the delivery limit.
                self._answers.append(partial(channel.basic_reject, tag, requeue=True, wait=False))
        for tag, multiple in self._settlements.acks([tag for tag, acked in settled if acked]):
            self._answers.append(partial(channel.basic_ack, tag, multiple=multiple, wait=False))
        while self._answers:
            await self._answers[0]()
            self._answers.popleft()


_DELETED = "the queue was deleted"


class _Settlements:
    """Which messages of one channel are settled: what may be acked together, what singly."""

    def __init__(self) -> None:
        #: Every message up to this tag is settled. The server counts them from 1 on each channel.
        self._all_up_to = 0
        self._beyond: set[int] = set()

    def rejected(self, tag: int) -> None:
        self._beyond.add(tag)

    def acks(self, tags: Sequence[int]) -> list[tuple[int, bool]]:
        """How to ack these: tags, and whether everything before is meant too."""
        self._beyond.update(tags)
        while self._all_up_to + 1 in self._beyond:
            self._all_up_to += 1
            self._beyond.remove(self._all_up_to)
        together = [tag for tag in tags if tag <= self._all_up_to]
        singly = [(tag, False) for tag in tags if tag > self._all_up_to]
        return [(max(together), True), *singly] if together else singly


async def _let_go(channel: Channel) -> None:
    if channel.is_closed:
        return
    try:
        with broken_is_no_cancel():
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await channel.close()
    except FAULTS as error:
        log.debug("closing a channel: %s", error)
