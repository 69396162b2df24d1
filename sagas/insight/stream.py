"""The reducers on Kafka, in Faust: agents, tables with changelogs, several workers.

Made so that a worker may die at any moment and nothing is lost or counted twice, without Kafka's
transactions (docs/adr/0009-idempotent-reducers.md):

- An event is acknowledged only once every change that it made is confirmed by Kafka: what was not,
  is delivered again. Faust by itself may commit an offset before the changelog is written, when its
  producer's buffer takes longer than a tenth of a second.
- A delivery that is repeated changes nothing that it changed before (``sagas.insight.states``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from faust.types import EventT, StreamT
from faust.types.tuples import FutureMessage

from sagas.flow import Choreography
from sagas.insight.application import StreamSettings, make_application
from sagas.insight.business import Business
from sagas.insight.partition import Partition, Tables
from sagas.insight.places import Places
from sagas.insight.records import Skipped, read_record, versions_of
from sagas.insight.states import MinuteState, SagaState
from sagas.insight.sums import KEPT_S
from sagas.insight.topics import partition_of
from sagas.tracker import Plan, concerns_a_saga
from sagas.tracker.violations import named

__all__ = ["Insight", "StreamSettings"]

log = logging.getLogger(__name__)

#: Events whose changes are not confirmed yet; with more, the agent waits.
MOST_UNCONFIRMED: Final = 2_000
#: Of what was skipped the last ones are shown.
MOST_SHOWN: Final = 50
CONFIRMED_WITHIN_S: Final = 60.0
MINUTE_S: Final = 60


class Insight:
    """The Faust application of one choreography. ``app`` is what a worker runs."""

    def __init__(
        self,
        settings: StreamSettings,
        choreography: Choreography,
        plan: Plan,
        business: Business,
        *,
        now: Any = time.time,
    ) -> None:
        self.settings = settings
        self._plan = plan
        self._business = business
        self._now = now
        self._versions = versions_of(choreography)
        self._partitions: dict[int, Partition] = {}
        #: Records that are not folded, by reason, and the last of them.
        self.skipped: Counter[str] = Counter()
        self.last_skipped: deque[dict[str, Any]] = deque(maxlen=MOST_SHOWN)
        self._minute = 0.0
        #: In the order of arrival: events with what they sent to the changelogs.
        self._unconfirmed: deque[tuple[StreamT[Any], EventT[Any], list[FutureMessage]]] = deque()
        self._more, self._room = asyncio.Event(), asyncio.Event()
        self.app = make_application(settings)
        self.places = Places(self.app, self._gone)
        self._topic = self.app.topic(
            settings.topic,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=settings.partitions,
            allow_empty=True,  # a record without a value is bad input, and counted as such
        )
        self._sagas: Any = self.app.Table(
            "sagas", key_type=str, value_type=bytes, partitions=settings.partitions
        )
        self._minutes: Any = (
            self.app.Table("minutes", value_type=bytes, partitions=settings.partitions)
            .tumbling(MINUTE_S, expires=KEPT_S)
            .relative_to(lambda event: self._minute)
        )
        self._sagas.on_recover(self._restore)
        self.agent = self.app.agent(self._topic, name=f"{settings.group}-events")(self._listen)
        self.app.task(self._confirm)
        self.app.timer(interval=1.0)(self._look)

    @property
    def owned(self) -> dict[int, Partition]:
        """The partitions that this worker answers for."""
        actives = self.app.assignor.assigned_actives()
        numbers = {tp.partition for tp in actives if tp.topic == self.settings.topic}
        return {number: self._partition(number) for number in sorted(numbers)}

    # ---------------------------------------------------------------------------------- hearing

    async def _listen(self, stream: Any) -> None:
        unacked = stream.noack()
        async for event in unacked.events():
            if not self.places.is_next(event.message, self._now()):
                continue
            self._unconfirmed.append((unacked, event, self._changes(event.message)))
            self._more.set()
            while len(self._unconfirmed) > MOST_UNCONFIRMED:
                self._room.clear()
                await self._room.wait()

    def _changes(self, record: Any) -> list[FutureMessage]:
        """Hear a record; what it sent to the changelogs."""
        sent = self._sagas.sent = self._minutes.table.sent = []
        try:
            self._hear(record)
        except Exception as error:
            # A table's disk is full, say. Faust would leave the agent dead and the worker alive.
            place = f"{record.partition}/{record.offset}"
            log.critical("record %s cannot be kept (%r): this worker ends", place, error)
            raise SystemExit(1) from error
        finally:
            self._sagas.sent = self._minutes.table.sent = None
        return sent

    def _hear(self, record: Any) -> None:
        now, headers = self._now(), record.headers or ()
        pairs: Any = list(headers.items()) if isinstance(headers, dict) else list(headers)
        try:
            message, facts = read_record(record.key, record.value, pairs, self._versions, now)
            if concerns_a_saga(message):
                self._check_place(record)
                partition = self._partition(record.partition)
                partition.hear(message, facts, record.offset, now)
        except Skipped as skipped:
            self._skip(skipped, record)

    def _check_place(self, record: Any) -> None:
        """Elsewhere its saga would be begun a second time."""
        right = partition_of(record.key, self.settings.partitions)
        if record.partition != right:
            raise Skipped("wrong_key", f"by its key it belongs into partition {right}")

    def _skip(self, skipped: Skipped, record: Any) -> None:
        self.skipped[skipped.reason] += 1
        place = f"{record.partition}/{record.offset}"
        shown = {"reason": skipped.reason, "place": place, "detail": named(str(skipped))}
        self.last_skipped.append(shown)
        log.warning("record %s is skipped (%s): %s", place, skipped.reason, shown["detail"])

    def _gone(self, count: int) -> None:
        self.skipped["deleted"] += count

    async def _confirm(self) -> None:
        """Acknowledge events in their order, each once all that it changed is written."""
        while True:
            if not self._unconfirmed:
                self._more.clear()
                await self._more.wait()
            first = stream, event, sent = self._unconfirmed[0]
            if sent:
                await asyncio.wait(sent, timeout=CONFIRMED_WITHIN_S)
            for future in sent:
                if not future.done() or future.exception() is not None:
                    why = future.exception() if future.done() else "Kafka did not confirm it"
                    log.critical("a change could not be written (%s): this worker ends", why)
                    raise SystemExit(1)
            if self._unconfirmed and self._unconfirmed[0] is first:
                await stream.ack(event)
                self._unconfirmed.popleft()
                self._room.set()

    # ----------------------------------------------------------------------------------- tables

    def _partition(self, number: int) -> Partition:
        partition = self._partitions.get(number)
        if partition is None:
            tables = Tables(
                self._sagas,
                lambda minute, raw: self._write_minute(number, minute, raw),
                lambda minute: self._write_minute(number, minute, None),
            )
            partition = Partition(number, tables, self._plan, self._business)
            self._partitions[number] = partition
        return partition

    def _write_minute(self, number: int, minute: int, raw: bytes | None) -> None:
        # The window of this minute, whatever the time of the event under way.
        self._minute = float(minute)
        if raw is None:
            del self._minutes[str(number)]
        else:
            self._minutes[str(number)] = raw

    async def _restore(self, *_: Any) -> None:
        """After a rebalance: what the tables hold now is all that is known.

        What is not acknowledged by now never will be, and is delivered again.
        """
        try:
            self._read_tables()
        except Exception as error:
            # Faust would pass it over, and sums of nothing would be told.
            log.critical(
                "the tables of group %s cannot be read (%r): this worker ends. If another version "
                "wrote them, give the workers a new group or topic",
                self.settings.group,
                error,
            )
            raise SystemExit(1) from error

    def _read_tables(self) -> None:
        self._unconfirmed.clear()
        self._room.set()
        self.places.clear()
        self._partitions.clear()
        sagas: dict[int, list[tuple[str, SagaState]]] = {}
        for saga_id, raw in self._sagas.data.items():
            state = SagaState.from_bytes(raw)
            sagas.setdefault(state.partition, []).append((saga_id, state))
        minutes: dict[int, list[tuple[int, MinuteState]]] = {}
        for (number, (begin, _)), raw in self._minutes.table.data.items():
            state_of = (int(begin), MinuteState.from_bytes(raw))
            minutes.setdefault(int(number), []).append(state_of)
        for number, partition in self.owned.items():
            partition.restore(sagas.get(number, ()), minutes.get(number, ()))

    async def _look(self) -> None:
        now = self._now()
        await self.places.ask_again(now)
        for partition in self.owned.values():
            partition.look(now)

    # ---------------------------------------------------------------------------------- telling

    def share(self) -> dict[str, Any]:
        """This worker's share, to be merged with the others'."""
        ready = not self.app.in_recovery and not self.app.rebalancing
        return self.share_of(self.owned if ready else {})

    def share_of(self, partitions: Mapping[int, Partition]) -> dict[str, Any]:
        now = self._now()
        return {
            "generation": self.app.consumer_generation_id,
            "of": self.settings.partitions,
            "partitions": {str(number): each.sums(now) for number, each in partitions.items()},
            "skipped": dict(self.skipped),
            "last_skipped": list(self.last_skipped),
        }

    def readiness(self) -> dict[str, Any]:
        """As every process tells it."""
        recovering = self.app.in_recovery or self.app.rebalancing
        return {
            "status": "degraded" if recovering else "ready",
            "checks": {"tables": "recovering" if recovering else "ok"},
        }

    def metrics(self) -> Iterator[str]:
        """Prometheus text, line by line."""
        for number, partition in self.owned.items():
            for name, count in partition.figures():
                yield f'insight_{name}{{partition="{number}"}} {count}'
        for reason, count in sorted(self.skipped.items()):
            yield f'insight_skipped_total{{reason="{reason}"}} {count}'
        yield f"insight_holes_total {self.places.holes}"
        yield f"insight_unconfirmed {len(self._unconfirmed)}"
