"""The simulator's mutants, as the tracker sees them: those that show in events are reported."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from sagas.tracker import Plan, plan_of, review
from tests.live.watching import WORLDS, watch
from tests.simulation.found import FOUND
from tests.simulation.mutants import MUTANTS

#: Mutant → a world that shows it, the seed, and a code that it is reported by.
SEEN = {
    "a_restart_forgets_the_steps": ("shop", 117, "SAGA605"),
    "no_tombstone_is_left": ("shop", 3, "SAGA605"),
    "it_acks_before_it_writes": ("counting", 45, "SAGA610"),
    "it_publishes_before_it_writes": ("shop", 77, "SAGA604"),
    "a_lost_race_counts_as_written": ("shop", 338, "SAGA610"),
    "an_unanswered_write_counts_as_done": ("shop", 2, "SAGA610"),
    "a_failed_publish_counts_as_sent": ("shop", 25, "SAGA610"),
    "the_relay_reads_no_outbox": ("shop", 25, "SAGA610"),
}
#: Those that show in a few worlds of a thousand are looked for in the long form.
SELDOM = {
    "the_inbox_is_not_checked": ("shop", 125, "SAGA604"),
    "a_restart_forgets_the_outbox": ("shop", 116, "SAGA610"),
    "settling_empties_the_whole_outbox": ("shop", 25, "SAGA610"),
    "the_carrier_is_not_asked_to_cancel": ("shop", 240, "SAGA606"),
}
#: A change of the engine moves what a seed meets: then so many others are tried.
OTHERS, SELDOM_OTHERS = 300, 3_000
DOCS = Path(__file__).parent.parent.parent / "docs" / "conformance.md"


@cache
def _plan(name: str) -> Plan:
    return plan_of(WORLDS[name].choreography)


def _codes(name: str, seed: int) -> Iterator[str]:
    plan = _plan(name)
    for view in watch(name, seed).values():
        # However long it takes: a world that has come to rest brings no missing cause any more.
        yield from (found["code"] for found in review(view, plan, math.inf).violations)


def _is_reported(world: str, seed: int, code: str, others: int) -> bool:
    return any(code in _codes(world, each) for each in (seed, *range(others)))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "shown" in metafunc.fixturenames:
        found = {**SEEN, **SELDOM} if _is_long(metafunc.config) else SEEN
        metafunc.parametrize("shown", found)


def _is_long(config: pytest.Config) -> bool:
    return bool(config.getoption("--live-sagas") >= 1_000)


def test_a_mutant_that_shows_in_events_is_reported(
    shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    MUTANTS[shown][1](monkeypatch)
    others = OTHERS if shown in SEEN else SELDOM_OTHERS
    assert _is_reported(*{**SEEN, **SELDOM}[shown], others)


def test_the_documentation_tells_what_becomes_of_every_mutant() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| ")]
    told = {row.split("|")[1].strip().replace(" ", "_").replace("'", "") for row in rows}
    assert told >= FOUND.keys()
    assert FOUND.keys() >= {*SEEN, *SELDOM}
    for name, (_, _, code) in itertools.chain(SEEN.items(), SELDOM.items()):
        [row] = [row for row in rows if name == row.split("|")[1].strip().replace(" ", "_")]
        assert code in row, name
