"""Records of a partition in the order of their places, without a hole.

The topic is neither compacted nor written in transactions: its places have no holes. But after a
rebalance Faust (0.15.3) goes on with what it had fetched before, and would take the records between
for compacted ones, commit beyond them and never deliver them. Here, what stands behind a hole is
left alone, unacknowledged, until what is missing has come.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiokafka.errors import IllegalStateError

__all__ = ["Places"]

log = logging.getLogger(__name__)

#: How long records that were left out may take to come by themselves.
PATIENCE_S: Final = 3.0


class _Hole(NamedTuple):
    """``wanted`` has not come at ``place``; ``since`` when, or since it was asked for again."""

    place: Any
    wanted: int
    since: float


class Places:
    """What comes next in each partition of ``app``; ``gone`` hears how many records never will."""

    def __init__(self, app: Any, gone: Callable[[int], None]) -> None:
        self._app = app
        self._gone = gone
        self._next: dict[int, int] = {}
        self._open: dict[int, _Hole] = {}
        #: How often a record came before one that it stands behind.
        self.holes = 0

    def clear(self) -> None:
        """After a rebalance all begins where it was committed."""
        self._next.clear()
        self._open.clear()

    def is_next(self, record: Any, now: float) -> bool:
        """Whether nothing is missing between the last record of its partition and this one."""
        number, place = record.partition, record.offset
        wanted = self._next.get(number)
        if wanted is None:
            committed = self._app.consumer._committed_offset.get(record.tp)
            wanted = self._next[number] = committed or 0
        if place <= wanted:
            self._open.pop(number, None)
            self._next[number] = max(place + 1, wanted)
            return True
        if number not in self._open:
            self.holes += 1
            self._open[number] = _Hole(record.tp, wanted, now)
            log.info("record %s/%s: %s was expected", number, place, wanted)
        return False

    async def ask_again(self, now: float) -> None:
        """Send the consumer back to what has not come by itself; perhaps nothing else comes."""
        for number, hole in list(self._open.items()):
            # While partitions move, others may have it by now; whoever gets it begins anew.
            moving = self._app.rebalancing or self._app.in_recovery
            if now - hole.since >= PATIENCE_S and not moving:
                try:
                    await self._ask(number, hole, now)
                except IllegalStateError:  # it has just moved
                    log.info("partition %s is no longer here", number)

    async def _ask(self, number: int, hole: _Hole, now: float) -> None:
        consumer = self._app.consumer
        (first,) = (await consumer.earliest_offsets(hole.place)).values()
        if self._open.get(number) is not hole:
            return  # it came meanwhile
        self._open[number] = hole._replace(since=now)
        if first > hole.wanted:
            last = first - 1
            log.error("records %s/%s to %s are gone, deleted by age", number, hole.wanted, last)
            self._gone(first - hole.wanted)
            self._next[number] = first
        await consumer.seek(hole.place, max(first, hole.wanted))
