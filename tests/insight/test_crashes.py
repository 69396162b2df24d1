"""A partition whose worker dies: what reached its changelogs is all that is left, and the events
that were not acknowledged come again. Nothing may be missing, nothing be counted twice."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

import pytest

from participants.insight import business
from sagas.envelope import Message
from sagas.insight.partition import Partition, Tables
from sagas.insight.states import MinuteState, SagaState
from tests.insight.simulated import PLAN, stream, told

SAGAS = 60
KILLS = 300
NOW = 1_767_300_000.0


class _Changelogs:
    """Two topics, each written in order, neither knowing of the other."""

    def __init__(self) -> None:
        self.sagas: list[tuple[str, bytes | None]] = []
        self.minutes: list[tuple[int, bytes | None]] = []

    def disk(self) -> _Disk:
        """What another worker begins with: all that is written."""
        return _Disk(self, _whole(self.sagas), _whole(self.minutes))


Key = TypeVar("Key")


def _whole(written: Sequence[tuple[Key, bytes | None]]) -> dict[Key, bytes]:
    return {key: raw for key, raw in dict(written).items() if raw is not None}


class _Disk(dict[str, bytes]):
    """A worker's own tables, as RocksDB keeps them: they outlive it, with all that it wrote."""

    def __init__(
        self, changelogs: _Changelogs, sagas: dict[str, bytes], minutes: dict[int, bytes]
    ) -> None:
        super().__init__(sagas)
        self._minutes = minutes
        self._changelogs = changelogs

    def __setitem__(self, key: str, raw: bytes) -> None:
        super().__setitem__(key, raw)
        self._changelogs.sagas.append((key, raw))

    def _write_minute(self, minute: int, raw: bytes) -> None:
        self._minutes[minute] = raw
        self._changelogs.minutes.append((minute, raw))

    def _drop_minute(self, minute: int) -> None:
        del self._minutes[minute]
        self._changelogs.minutes.append((minute, None))

    def partition(self) -> Partition:
        """A worker that begins with what is here."""
        tables = Tables(self, self._write_minute, self._drop_minute)
        partition = Partition(0, tables, PLAN, business)
        partition.restore(
            [(key, SagaState.from_bytes(raw)) for key, raw in self.items()],
            [(minute, MinuteState.from_bytes(raw)) for minute, raw in self._minutes.items()],
        )
        return partition


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(stream(told(SAGAS), random.Random("crashes")))


def _hear(partition: Partition, messages: Sequence[Message], first: int, end: int) -> None:
    for place in range(first, end):
        message = messages[place]
        partition.hear(message, PLAN.read_facts(message), place, NOW)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("on_another", [1.0, 0.5], ids=["in memory", "on disks of their own"])
def test_a_worker_that_dies_at_any_moment_counts_exactly(
    messages: list[Message], on_another: float, seed: int
) -> None:
    """``on_another``: how often what comes after begins with no more than the changelogs."""
    undisturbed = _Changelogs().disk().partition()
    _hear(undisturbed, messages, 0, len(messages))
    chance, changelogs = random.Random(seed), _Changelogs()
    disk = changelogs.disk()
    committed = kills = 0
    while committed < len(messages):
        partition = disk.partition()
        # Where each event's changes end in the changelogs, to know what was confirmed.
        reached = [(len(changelogs.sagas), len(changelogs.minutes))]
        end = min(committed + chance.randint(1, 25), len(messages))
        for place in range(committed, end):
            _hear(partition, messages, place, place + 1)
            reached.append((len(changelogs.sagas), len(changelogs.minutes)))
        if kills < KILLS:
            kills += 1
            # Each topic got as far as it got; what is acknowledged is what both have.
            del changelogs.sagas[chance.randint(*(each[0] for each in (reached[0], reached[-1]))) :]
            del changelogs.minutes[
                chance.randint(*(each[1] for each in (reached[0], reached[-1]))) :
            ]
            confirmed = [
                n
                for n, (sagas, minutes) in enumerate(reached)
                if sagas <= len(changelogs.sagas) and minutes <= len(changelogs.minutes)
            ]
            # The offset is committed now and then: never beyond what is confirmed.
            committed += chance.randint(0, max(confirmed))
            if chance.random() < on_another:
                disk = changelogs.disk()
        else:
            committed = end
    assert kills > 20
    assert changelogs.disk().partition().sums(NOW) == undisturbed.sums(NOW)
