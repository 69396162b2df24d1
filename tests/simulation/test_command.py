"""The command: its exit codes, and what it prints of a failure."""

from __future__ import annotations

import re

import pytest

from sagas.simulate.cli import main

SHOP = "participants.simulation:world"


def test_everything_held(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SHOP, "--seeds", "5", "--jobs", "1"]) == 0
    assert "Everything held: 5 worlds" in capsys.readouterr().out


def test_one_seed_shows_its_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SHOP, "--seed", "7"]) == 0
    out = capsys.readouterr().out
    assert "OrderPlaced" in out
    assert "sequenceDiagram" in out


def test_a_failure_says_how_to_play_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tests.simulation.hopeless:world", "--seeds", "3", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "no_trip_ever_ends" in out
    assert "no faults at all" in out
    again = re.search(r"python -m sagas.simulate (.*) --only-faults none$", out, re.MULTILINE)
    assert again is not None
    assert main([*again[1].split(), "--only-faults", "none"]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["participants.nothing:world"],
        ["participants.simulation:nothing"],
        ["participants.simulation:draw"],
        [SHOP, "--seed", "7", "--only-sagas", "99"],
    ],
)
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("sagas simulate: ")


@pytest.mark.parametrize("arguments", [[], [SHOP, "--seeds", "0"], [SHOP, "--seed", "x"]])
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
