"""``sagas check``, ``graph`` and ``canvas``: formats, exit codes, and errors of one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from sagas.check import check
from sagas.check.machine import json, sarif
from sagas.check.text import github
from sagas.cli import main
from tests.check.sarif_schema import SARIF, faults
from tests.check.stories import STORIES, cancellable

SHOP = "participants.choreography:shop"

BROKEN = """
from typing import Never

from pydantic import BaseModel

from sagas import Choreography, Command, Decision, Event, Participant
from sagas.check import Never as Rule


class Cup(BaseModel):
    full: bool = True


class Order(Command):
    origin = "counter"


class CupFilled(Event):
    pass


class CupEmptied(Event):
    pass


bar = Participant("bar", state=Cup)


@bar.step(on=Order, emits=[CupFilled])
def fill_cup(order: Order) -> Decision[Cup, CupFilled]: ...


@bar.follows(CupEmptied)
def wash(event: CupEmptied) -> Decision[Cup, Never]: ...


coffee = Choreography("coffee", [bar], completed_by=[CupFilled], compensated_by=[])
coffee_rules = [Rule("fill_cup", before=CupEmptied)]
"""


@pytest.fixture
def coffee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of its own in the current directory."""
    name = f"coffee_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(tmp_path)])
    return name


def test_a_clean_choreography_exits_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SHOP]) == 0
    said = capsys.readouterr().out
    assert "order-to-delivery: clean" in said
    assert "states" in said


def test_findings_exit_with_1_and_name_file_line_trace_and_advice(
    coffee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", f"{coffee}:coffee"]) == 1
    said = capsys.readouterr().out
    line = BROKEN.splitlines().index("@bar.follows(CupEmptied)") + 1
    assert "error SAGA101 awaited-never-emitted  bar.wash" in said
    assert f"{coffee}.py:{line}" in said
    assert "SAGA304" in said, "the rules that stand next to it count"
    assert "1  bar.fill_cup is done → CupFilled" in said
    assert "Do: " in said


def test_a_module_is_found_in_the_current_directory(coffee: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "sagas", "check", f"{coffee}:coffee", "--format", "json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert done.returncode == 1, done.stderr
    found = orjson.loads(done.stdout)["findings"]
    assert [(each["code"], each["file"]) for each in found][:1] == [("SAGA101", f"{coffee}.py")]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("shop", "is not MODULE:ATTR"),
        ("shop.flow:", "is not MODULE:ATTR"),
        ("../shop:shop", "is not MODULE:ATTR"),
        ("shop/flow.py:shop", "is a file: name its module, `shop.flow:shop`"),
        ("no_such_module:shop", "there is no module 'no_such_module' in"),
        ("participants.no_such_module:shop", "there is no module 'participants.no_such_module'"),
        ("participants.choreography:shoe", "has no choreography 'shoe'; it has shop"),
        ("contracts.base:shop", "has no choreography 'shop'; it has none"),
    ],
)
@pytest.mark.parametrize("command", ["check", "graph", "canvas"])
def test_what_cannot_be_loaded_exits_with_2_and_one_line(
    command: str, target: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, target]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise RuntimeError('first\\nsecond')", "RuntimeError: first second ({file}:1)"),
        ("x = {}\ny = x['SETTING']", "KeyError: 'SETTING' ({file}:2)"),
        ("import no_such_thing", "No module named 'no_such_thing' ({file}:1)"),
        ("def f(:", "SyntaxError: invalid syntax ({file}, line 1)"),
        ("raise SystemExit('set SETTING first')", "SystemExit: set SETTING first ({file}:1)"),
    ],
)
def test_a_module_that_does_not_import_is_one_line_with_its_place(
    source: str, words: str, coffee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{coffee}_bad.py").write_text(source)
    assert main(["check", f"{coffee}_bad:coffee"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sagas: {coffee}_bad does not import: ")
    assert words.format(file=f"{coffee}_bad.py") in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("coffee_rules = 'none'", "coffee_rules must be a list of `sagas.check.Never`"),
        ("coffee_deadline_s = 'soon'", "coffee_deadline_s must be a number of seconds above 0"),
    ],
)
def test_what_stands_next_to_it_must_be_what_it_says(
    more: str, words: str, coffee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{coffee}_odd.py").write_text(f"{BROKEN}\n{more}\n")
    assert main(["check", f"{coffee}_odd:coffee"]) == 2
    assert words in capsys.readouterr().err


def test_what_a_module_prints_does_not_get_into_the_report(
    coffee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{coffee}_loud.py").write_text(f"print('hello')\n{BROKEN}")
    assert main(["check", f"{coffee}_loud:coffee", "--format", "json"]) == 1
    said = capsys.readouterr()
    assert orjson.loads(said.out)["choreography"] == "coffee"
    assert said.err == "hello\n"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--deadline", "soon"],
        ["--deadline", "nan"],
        ["--deadline", "0"],
        ["--max-states", "-1"],
        ["--format", "xml"],
    ],
)
def test_a_wrong_option_exits_with_2(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", SHOP, *wrong])
    assert stopped.value.code == 2
    assert f"argument {wrong[0]}: " in capsys.readouterr().err


def _sagas(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    root = Path(__file__).parents[2]
    # Whoever runs the tests may say how wide their own terminal is.
    ours = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    return subprocess.run(
        [sys.executable, "-m", "sagas", *arguments],
        capture_output=True,
        env={**ours, "PYTHONPATH": str(root), **environment},
        check=False,
        timeout=120,
    )


def test_a_file_gets_whole_lines_and_no_colour(coffee: str) -> None:
    told = _sagas("check", f"{coffee}:coffee").stdout.decode()
    assert "\x1b" not in told
    assert any(len(line) > 100 for line in told.splitlines()), "nothing is wrapped"
    assert all(line == line.rstrip() for line in told.splitlines())


def test_a_narrow_terminal_gets_hanging_indents(coffee: str) -> None:
    lines = _sagas("check", f"{coffee}:coffee", COLUMNS="44").stdout.decode().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith("  Do: "))
    assert lines[start + 1].startswith("      "), "it hangs behind its lead"
    wrapped = [line for line in lines if line.startswith("  ") and ".py:" not in line]
    assert max(map(len, wrapped)) <= 44


def test_colour_is_for_those_who_want_it(coffee: str) -> None:
    colourful = _sagas("check", f"{coffee}:coffee", FORCE_COLOR="1").stdout
    assert b"\x1b[1;31merror SAGA101" in colourful
    plain = _sagas("check", f"{coffee}:coffee", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert b"31m" not in plain


def test_a_terminal_without_arrows_gets_question_marks(coffee: str) -> None:
    done = _sagas("check", f"{coffee}:coffee", PYTHONIOENCODING="ascii")
    assert done.returncode == 1, done.stderr
    assert b"fill_cup is done ? CupFilled" in done.stdout


def test_nobody_reading_on_is_no_error() -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        f"{sys.executable} -m sagas graph {SHOP} --format json | true",
        shell=True,
        capture_output=True,
        cwd=root,
        check=False,
        timeout=120,
    )
    assert done.stderr == b""


def test_a_wrong_declaration_is_a_finding(coffee: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path(f"{coffee}_two.py").write_text(
        BROKEN.replace("@bar.follows(CupEmptied)", "@bar.follows(Order)")
    )
    assert main(["check", f"{coffee}_two:coffee", "--format", "json"]) == 1
    (finding,) = orjson.loads(capsys.readouterr().out)["findings"]
    assert finding["code"] == "SAGA001"
    assert finding["file"] == f"{coffee}_two.py"
    assert finding["line"] > 1


def test_a_choreography_that_is_refused_as_a_whole_has_its_line(
    coffee: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(f"{coffee}_twice.py").write_text(BROKEN.replace("[bar]", "[bar, bar]"))
    assert main(["check", f"{coffee}_twice:coffee", "--format", "json"]) == 1
    (finding,) = orjson.loads(capsys.readouterr().out)["findings"]
    line = next(n for n, text in enumerate(BROKEN.splitlines(), 1) if text.startswith("coffee ="))
    assert (finding["file"], finding["line"]) == (f"{coffee}_twice.py", line)


def test_too_many_states_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SHOP, "--max-states", "10"]) == 2
    assert "more than 10 states" in capsys.readouterr().err


def test_without_tombstones_and_with_a_deadline(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", SHOP, "--without-tombstones"]) == 1
    assert "SAGA303" in capsys.readouterr().out
    assert main(["check", SHOP, "--deadline", "30"]) == 1
    assert "SAGA402" in capsys.readouterr().out


def test_the_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["check", "--help"])
    assert stopped.value.code == 0
    assert "0 nothing found, 1 findings, 2 wrong usage" in " ".join(capsys.readouterr().out.split())


# ------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("broken", STORIES, ids=str)
def test_every_finding_is_valid_sarif(broken: Any) -> None:
    told = broken.make(False)
    report = check(told.choreography, **told.options)
    log = orjson.loads(sarif(report))
    assert faults(log, SARIF) == []
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert len(run["results"]) == len(report.findings)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert not result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].startswith(
            "/"
        )


def test_the_schema_subset_finds_what_is_wrong() -> None:
    log = orjson.loads(sarif(check(cancellable(at_once=True).choreography)))
    log["runs"][0]["results"][0]["level"] = "fatal"
    del log["runs"][0]["results"][0]["message"]
    log["runs"][0]["surprise"] = 1
    assert len(faults(log, SARIF)) == 3


def test_json_tells_everything() -> None:
    report = check(cancellable(at_once=True).choreography)
    told = orjson.loads(json(report))
    assert (told["clean"], told["states"]) == (False, report.states)
    finding = told["findings"][0]
    assert finding["trace"][0]["events"] == ["TripStarted"]
    assert finding["severity"] == "error"


def test_each_line_of_a_trace_names_where_its_reaction_is_declared() -> None:
    report = check(cancellable(at_once=True).choreography)
    (first, *_) = orjson.loads(json(report))["findings"][0]["trace"]
    assert (first["file"], first["line"] > 0) == ("tests/check/town.py", True)
    (flow,) = orjson.loads(sarif(report))["runs"][0]["results"][0]["codeFlows"]
    step = flow["threadFlows"][0]["locations"][0]["location"]["physicalLocation"]
    assert step["artifactLocation"]["uri"] == "tests/check/town.py"


def test_a_folder_with_a_blank_makes_a_valid_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"tea_{os.urandom(4).hex()}"
    (tmp_path / "green tea").mkdir()
    (tmp_path / "green tea" / f"{name}.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "green tea"))
    assert main(["check", f"{name}:coffee", "--format", "sarif"]) == 1
    (first, *_) = orjson.loads(capsys.readouterr().out)["runs"][0]["results"]
    place = first["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uri"] == f"green%20tea/{name}.py"


def test_github_gets_one_escaped_line_for_each_finding() -> None:
    report = check(cancellable(at_once=True).choreography)
    *lines, explored = github(report).splitlines()
    assert len(lines) == len(report.findings)
    assert f"{report.states:,} states" in explored
    assert lines[0].startswith("::error file=")
    assert "%0A1. desk.start_trip" in lines[0]
