"""Every rule fires on its broken choreography, and stays quiet on the mended twin."""

from __future__ import annotations

from pathlib import Path

import pytest

from sagas.check import CODES, Report, check
from tests.check.stories import STORIES, Broken, Story

#: These look at declarations alone: there is no trace to show.
STATIC = ("SAGA10", "SAGA205", "SAGA206", "SAGA207", "SAGA5")


def _checked(told: Story) -> Report:
    return check(told.choreography, **told.options)


@pytest.mark.parametrize("broken", STORIES, ids=str)
def test_the_broken_one_is_found(broken: Broken) -> None:
    report = _checked(broken.make(False))
    about = {(finding.code, finding.subject) for finding in report.findings}
    assert (broken.code, broken.subject) in about
    for finding in report.findings:
        assert finding.message.endswith(".")
        assert finding.advice.endswith(".")
        assert finding.place is not None
        assert finding.place.line > 0
        if not finding.code.startswith(STATIC):
            assert finding.trace


@pytest.mark.parametrize("broken", STORIES, ids=str)
def test_the_mended_one_is_clean(broken: Broken) -> None:
    report = _checked(broken.make(True))
    assert report.findings == ()
    assert report.states > 5


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ("a_flight_is_cancelled_that_has_left", "Ask airline first"),
        ("nothing_stops_a_gate_that_never_refuses", "let it declare `refuses=[…]`"),
        ("the_gate_closes_on_a_seat_just_given_back", "Let close_gate ask outside"),
    ],
)
def test_what_to_do_about_a_crossing_depends_on_what_is_missing(story: str, words: str) -> None:
    broken = next(each for each in STORIES if each.make.__name__ == story)
    crossings = [each for each in _checked(broken.make(False)).findings if each.code == broken.code]
    assert [words in each.advice for each in crossings] == [True]


def test_every_rule_has_its_story() -> None:
    # A wrong declaration never becomes a choreography: the command line's tests tell that one.
    assert {broken.code for broken in STORIES} == set(CODES) - {"SAGA001"}


def test_every_rule_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "check.md").read_text()
    documented = [line.split("|")[1].strip() for line in page.splitlines() if "| SAGA" in line]
    assert documented == list(CODES)
    warnings = {code for code, rule in CODES.items() if rule.severity == "warning"}
    assert {
        line.split()[1] for line in page.splitlines() if line.endswith("(warning) |")
    } == warnings
