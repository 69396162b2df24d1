"""Sent events, kept for a while: a queue that was lost, or is new, is refilled from them.

They are kept in bulk, many to a record, in a collection of the service's own store. An event leaves
its outbox only after it was kept, so that no crash loses it for the queue that comes later.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import orjson

from sagas.envelope import Message, decode, encode
from sagas.ports import Clock, Collection, Ids, Query, Store, Write

__all__ = ["KeptEvents"]

#: Of one record: well below what any store takes.
MAX_EVENTS = 256
MAX_BYTES = 1 << 20
PAGE = 50
EXPIRE_AT_ONCE = 1_000


class KeptEvents:
    """The kept events of one store. ``for_s``: how long each is kept."""

    COLLECTION = Collection("sent_events", fields=("sent_at",), indexes=(("sent_at",),))

    def __init__(self, store: Store, clock: Clock, ids: Ids, *, for_s: float) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._for_s = for_s

    async def keep(self, messages: Sequence[Message]) -> None:
        """Durable when this returns. Raises ``StoreUnavailable``: keep them again, a repeat is
        harmless."""
        now = self._clock.now()
        writes = [
            Write(
                collection=self.COLLECTION.name,
                key=self._ids.new(),
                expected=0,
                body=body,
                fields={"sent_at": now},
                expires=now + self._for_s,
            )
            for body in _bodies(messages)
        ]
        await self._store.commit(writes)

    async def expire(self) -> None:
        """Let those go whose time is over."""
        name, now = self.COLLECTION.name, self._clock.now()
        while await self._store.expire(name, now, EXPIRE_AT_ONCE) == EXPIRE_AT_ONCE:
            await self._clock.sleep(0)

    async def since(self, moment: float) -> AsyncIterator[list[Message]]:
        """What was sent at ``moment`` (seconds since the epoch) or later, in pages."""
        after: tuple[float, str] | None = None
        while True:
            query = Query(at_least={"sent_at": moment}, sort="sent_at", after=after, limit=PAGE)
            found = await self._store.query(self.COLLECTION.name, query)
            for record in found:
                yield [decode(each) for each in orjson.loads(record.body)]
            if len(found) < PAGE:
                return
            last = found[-1]
            sent_at = last.fields["sent_at"]
            assert isinstance(sent_at, float)
            after = (sent_at, last.key)


def _bodies(messages: Sequence[Message]) -> Iterator[bytes]:
    chunk: list[bytes] = []
    size = 0
    for message in messages:
        encoded = encode(message)
        if chunk and (len(chunk) == MAX_EVENTS or size + len(encoded) > MAX_BYTES):
            yield b"[%b]" % b",".join(chunk)
            chunk, size = [], 0
        chunk.append(encoded)
        size += len(encoded)
    if chunk:
        yield b"[%b]" % b",".join(chunk)
