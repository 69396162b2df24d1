"""Good sagas, whatever fails around them and in whatever order they are heard of: never an alarm.

``--live-sagas 10000`` is the long form (``make soak``).
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence

import pytest

from sagas.tracker import Conformance, Entry, Judgement, SagaView
from tests.live.watching import WORLDS, watch

IN_ORDER = Judgement()
#: Seen in good sagas of the shop any number of times.
SAID_AGAIN = {"CancelRequested", "CancellationRequested", "RefundIssued"}
ENGINE = {"StepRetrying", "AttentionNeeded", "AttentionResolved"}


def _sagas(name: str, count: int) -> Iterator[tuple[random.Random, str, SagaView]]:
    """So many sagas of simulated worlds, each with a chance of its own."""
    left = count
    for seed in itertools.count():
        for saga_id, view in watch(name, seed).items():
            yield random.Random(f"{seed}: {saga_id}"), f"seed {seed}, {saga_id}", view
            left -= 1
            if not left:
                return


def _orders(chance: random.Random, heard: Sequence[Entry]) -> Iterator[list[Entry]]:
    """As it was heard; the participants' queues emptied in any order; and any order at all."""
    yield list(heard)
    queues: dict[str, list[Entry]] = {}
    for entry in sorted(heard, key=lambda entry: (entry.sequence, entry.time)):
        queues.setdefault(entry.participant, []).append(entry)
    turns = chance.sample([entry.participant for entry in heard], len(heard))
    yield [queues[participant].pop(0) for participant in turns]
    yield chance.sample(list(heard), len(heard))


@pytest.mark.parametrize("name", WORLDS)
def test_no_good_saga_is_reported(name: str, request: pytest.FixtureRequest) -> None:
    conformance = Conformance(WORLDS[name].choreography)
    count = request.config.getoption("--live-sagas")
    seen: Counter[str] = Counter()
    for chance, where, view in _sagas(name, count):
        # Live, by the tracker itself, with its waiting time.
        assert not view.violations, where
        assert not view.unconfirmed, where
        for order in _orders(chance, view.entries):
            judged = IN_ORDER
            for place in range(1, len(order) + 1):
                judged = conformance.judge(order[:place], judged == IN_ORDER)
                assert not judged.impossible, where
                seen["unconfirmed"] += bool(judged.unconfirmed)
            assert judged == IN_ORDER, where
            seen["events"] += len(order)
        seen["sagas"] += 1
    print(f"\n{name}: {dict(seen)}")
    assert seen["sagas"] == count
    assert seen["unconfirmed"], "causes were overtaken, and it was noticed"


# ------------------------------------------------------------ and good sagas made bad are reported


@pytest.fixture(scope="module")
def sagas() -> list[SagaView]:
    return [view for _, _, view in _sagas("shop", 60)]


@pytest.fixture(scope="module")
def conformance() -> Conformance:
    return Conformance(WORLDS["shop"].choreography)


def test_what_is_repeated_under_another_id_is_reported(
    sagas: list[SagaView], conformance: Conformance
) -> None:
    for view in sagas:
        for entry in view.entries:
            again = entry._replace(id=f"{entry.id} again")
            found = conformance.judge((*view.entries, again)).impossible
            codes = [each["code"] for each in found]
            assert codes == ([] if entry.type in SAID_AGAIN | ENGINE else ["SAGA604"])


def test_what_a_stranger_says_is_reported(sagas: list[SagaView], conformance: Conformance) -> None:
    for view in sagas:
        for place, entry in enumerate(view.entries):
            if entry.type not in {"CancelRequested"} | ENGINE:
                forged = entry._replace(participant="stranger")
                entries = (*view.entries[:place], forged, *view.entries[place + 1 :])
                found = conformance.judge(entries).impossible
                assert "SAGA602" in [each["code"] for each in found]


def test_what_lost_its_cause_is_unconfirmed(
    sagas: list[SagaView], conformance: Conformance
) -> None:
    missing: Counter[str] = Counter()
    for view in sagas:
        causes = {entry.causation_id for entry in view.entries if entry.type not in ENGINE}
        for entry in view.entries:
            # A wish to cancel also comes without an operator: a command may have been its cause.
            if entry.id in causes and entry.type != "CancelRequested":
                rest = [other for other in view.entries if other is not entry]
                found = conformance.judge(rest)
                assert not found.impossible
                assert found.unconfirmed
                missing[entry.type] += 1
    assert len(missing) > 8
