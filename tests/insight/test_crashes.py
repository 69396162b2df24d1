"""A partition whose worker dies: what reached its changelogs is all that is left, and the events
that were not acknowledged come again. Nothing may be missing, nothing be counted twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

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

    def partition(self) -> Partition:
        """A worker that begins with what is written."""
        sagas = _Sagas(self, {key: raw for key, raw in dict(self.sagas).items() if raw})
        minutes = {key: raw for key, raw in dict(self.minutes).items() if raw}
        tables = Tables(
            sagas,
            lambda minute, raw: self.minutes.append((minute, raw)),
            lambda minute: self.minutes.append((minute, None)),
        )
        partition = Partition(0, tables, PLAN, business)
        partition.restore(
            [(key, SagaState.from_bytes(raw)) for key, raw in sagas.items()],
            [(minute, MinuteState.from_bytes(raw)) for minute, raw in minutes.items()],
        )
        return partition


class _Sagas(dict[str, bytes]):
    def __init__(self, changelogs: _Changelogs, known: dict[str, bytes]) -> None:
        super().__init__(known)
        self._changelogs = changelogs

    def __setitem__(self, key: str, raw: bytes) -> None:
        super().__setitem__(key, raw)
        self._changelogs.sagas.append((key, raw))


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    return list(stream(told(SAGAS), random.Random("crashes")))


def _hear(partition: Partition, messages: Sequence[Message], first: int, end: int) -> None:
    for place in range(first, end):
        message = messages[place]
        partition.hear(message, PLAN.read_facts(message), place, NOW)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("seed", range(3))
def test_a_worker_that_dies_at_any_moment_counts_exactly(
    messages: list[Message], seed: int
) -> None:
    undisturbed = _Changelogs().partition()
    _hear(undisturbed, messages, 0, len(messages))
    chance, changelogs = random.Random(seed), _Changelogs()
    committed = kills = 0
    while committed < len(messages):
        partition = changelogs.partition()
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
        else:
            committed = end
    assert kills > 20
    assert changelogs.partition().sums(NOW) == undisturbed.sums(NOW)
