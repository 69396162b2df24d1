"""The pytest plugin, as somebody else's project uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

STORY = """
from sagas.check import Never
from tests.simulation import counting, hopeless

def test_it_is_clean(sagas):
    sagas.check(counting.choreography)

def test_it_is_not(sagas):
    sagas.check(counting.choreography, rules=[Never("book_flight", after="book_room")])

def test_it_holds(sagas):
    assert sagas.seeds == 3
    sagas.hold(counting.world)

def test_it_does_not(sagas):
    sagas.hold(hopeless.world)
"""


def test_a_choreography_is_tested_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "test_story.py").write_text(STORY)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-c", "pyproject.toml", "--rootdir", "."),
            *("-p", "no:cacheprovider", "--saga-seeds", "3"),
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 failed, 2 passed" in done.stdout, done.stdout + done.stderr
    assert "error SAGA304 stated-rule-broken  airline.book_flight" in done.stdout
    assert "seed 0 breaks: no_trip_ever_ends" in done.stdout
    assert "no faults at all" in done.stdout
    assert "sequenceDiagram" in done.stdout
    assert "python -m sagas.simulate tests.simulation.hopeless:world --seed 0" in done.stdout
