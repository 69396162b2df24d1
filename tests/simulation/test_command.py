"""The command: its exit codes, and what it prints of a failure."""

from __future__ import annotations

import re

import pytest

from participants import simulation as shop
from sagas.simulate.cli import main
from tests.simulation.found import FOUND
from tests.simulation.mutants import no_tombstone_is_left

SHOP = "participants.simulation:world"
HOPELESS = "tests.simulation.hopeless:world"


def test_everything_held(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SHOP, "--seeds", "5", "--jobs", "1"]) == 0
    told = capsys.readouterr()
    assert "Everything held: 5 worlds" in told.out
    assert "5/5" in told.err  # the progress bar


def test_one_seed_shows_its_timeline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([SHOP, "--seed", "7"]) == 0
    out = capsys.readouterr().out
    assert "OrderPlaced" in out
    assert "sequenceDiagram" in out


def _again(out: str) -> list[str]:
    """The arguments of the one command that plays it again."""
    command = re.search(r"python -m sagas.simulate (.*)$", out, re.MULTILINE)
    assert command is not None
    return command[1].split()


def test_a_failure_is_shrunk_told_and_played_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    no_tombstone_is_left(monkeypatch)
    seed, invariant = FOUND["no_tombstone_is_left"]
    assert main([SHOP, "--first", str(seed), "--seeds", "1"]) == 1
    out = capsys.readouterr().out
    assert invariant in out
    assert out.count(": PlaceOrder at") == 1
    assert f"1 broken of 1 worlds, {len(shop.world.schedule(seed).scripts)} sagas" in out
    assert main(_again(out)) == 1
    again = capsys.readouterr().out
    assert invariant in again
    assert _again(again) == _again(out)


def test_it_stops_at_the_first_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HOPELESS, "--seeds", "1000", "--jobs", "1"]) == 1
    out = capsys.readouterr().out
    assert "no faults at all" in out
    assert "40 broken of 40 worlds" in out  # the batch that was under way


def test_with_keep_going_every_failure_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([HOPELESS, "--seeds", "100", "--keep-going"]) == 1
    out = capsys.readouterr().out
    assert "100 broken of 100 worlds" in out
    listed = ", ".join(f"seed {seed}" for seed in range(20))
    assert f"no_trip_ever_ends: {listed}, … 80 more" in out


def test_a_sweep_says_how_many_awaits_there_were(capsys: pytest.CaptureFixture[str]) -> None:
    counting = "tests.simulation.counting:world"
    assert main([counting, "--sweep", "--seed", "1", "--pairs", "10"]) == 0
    out = capsys.readouterr().out
    told = re.match(
        r"a crash at each of (\d+) awaits, on each of (\d+) sides of calls, and 10 pairs", out
    )
    assert told is not None
    assert f"Everything held: {int(told[1]) + int(told[2]) + 10} worlds" in out


def test_a_failing_sweep_says_how_to_play_that_crash_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([HOPELESS, "--sweep", "--jobs", "1"]) == 1
    arguments = _again(capsys.readouterr().out)
    assert re.fullmatch(r"trip:[a-z-]+:1", arguments[-1])
    assert main(arguments) == 1


def test_a_world_that_cannot_be_drawn_is_told_in_a_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tests.simulation.hopeless:undrawn", "--seeds", "3"]) == 2
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert re.fullmatch(
        r"sagas simulate: worlds 0 to 2 were not played: .*no idea.* at .*hopeless.py:\d+", told
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["participants.nothing:world"],
        ["participants.simulation:nothing"],
        ["participants.simulation:draw"],
        [SHOP, "--seed", "7", "--only-sagas", "99"],
        [SHOP, "--seed", "7", "--crash", "nobody:step:1"],
    ],
)
def test_wrong_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("sagas simulate: ")


@pytest.mark.parametrize(
    "arguments",
    [[], [SHOP, "--seeds", "0"], [SHOP, "--seed", "x"], [SHOP, "--crash", "order:lunch:1"]],
)
def test_wrong_arguments_are_told(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
