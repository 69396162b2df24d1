"""Every block of the tutorial and the how-to pages is run, in its order, as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from shop.docs import ROOT
from shop.tutorial import blocks, put

#: Pages that are read one after the other, in a folder of their own.
LESSONS = {"tutorial": ["tutorial.md", "testing.md"], "cancelling": ["cancelling.md"]}
#: What is shown and not run here.
SHOWN = ("sh", "yaml")


def _page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


class Reader:
    """Does what a page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, str] = {}
        #: As it was before a ``diff``, which holds for the commands that follow it.
        self.before: dict[str, str] | None = None

    def read(self, language: str, block: str) -> None:
        if language == "console":
            for command, expected in _commands(block):
                self.run(command, expected)
            return
        assert language in ("python", "diff", *SHOWN), f"nobody runs a {language} block"
        if self.before is not None:
            self.files, self.before = self.before, None
        if language == "python":
            put(self.files, block)
        elif language == "diff":
            self.before = dict(self.files)
            (name,) = (name for name, text in self.files.items() if _old(block) in text)
            self.files[name] = self.files[name].replace(_old(block), _new(block))
        self.write()

    def write(self) -> None:
        for name, text in self.files.items():
            (self.folder / name).write_text(text)

    def run(self, command: str, expected: str) -> None:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
        # As in a terminal of one's own: nothing of this test's run may tell.
        for name in [name for name in environment if name.startswith("PYTEST_")]:
            del environment[name]
        done = subprocess.run(
            command,
            shell=True,
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = done.stdout.rstrip()
        assert re.fullmatch(_pattern(expected), said, re.DOTALL), f"{said}\n{done.stderr}"
        fails = "findings" in expected or "\n•" in expected
        assert done.returncode == int(fails), (command, done.stderr)


def _commands(block: str) -> list[tuple[str, str]]:
    """Each command with what it prints."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [
        (command, said.rstrip()) for command, _, said in (part.partition("\n") for part in parts)
    ]


def _pattern(expected: str) -> str:
    """``…`` stands for anything; a frame around a line is not told."""
    pieces = [re.escape(piece) for piece in expected.split("…")]
    return ".*".join(pieces).replace("\\\n", "\n[│ ]*")


def _old(diff: str) -> str:
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("+"))


def _new(diff: str) -> str:
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if not line.startswith("-"))


@pytest.mark.parametrize("lesson", LESSONS)
def test_every_block_does_what_the_page_says(lesson: str, tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for page in LESSONS[lesson]:
        found = list(blocks(_page(page)))
        assert len(found) > 3
        for language, block in found:
            reader.read(language, block)


def test_the_tutorial_makes_three_files_and_a_picture(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for language, block in blocks(_page("tutorial.md")):
        if language == "python":
            reader.read(language, block)
    assert set(reader.files) == {"trip.py", "world.py", "test_trip.py"}
    assert (ROOT / "docs" / "trip.svg").read_text().startswith("<svg")


def test_a_block_that_belongs_nowhere_is_noticed() -> None:
    with pytest.raises(ValueError, match="starts with the file it belongs to"):
        put({}, "x = 1\n")


def test_console_blocks_hold_real_commands() -> None:
    """One that was never split into commands would pass for the wrong reason."""
    commands = [
        command
        for language, block in blocks(_page("tutorial.md"))
        if language == "console"
        for command, _ in _commands(block)
    ]
    names = [shlex.split(command)[:2] for command in commands]
    assert names.count(["sagas", "check"]) == 3
    assert names.count(["sagas", "simulate"]) == 2
    assert {"python", "pytest"} <= {name[0] for name in names}
