"""A test that lacks its server is skipped; where all servers must be there, that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STORIES = """
import pytest

def test_lacks_its_server():
    pytest.skip("nothing listens at 127.0.0.1:5672: `make services` starts it")

@pytest.mark.skipif(True, reason="no such command here")
def test_lacks_a_command(): ...

@pytest.mark.xfail(reason="not yet")
def test_expected_to_fail(): assert False

def test_good(): ...
"""


@pytest.mark.parametrize(
    ("required", "code", "said"),
    [
        ("0", 0, "1 passed, 2 skipped, 1 xfailed"),
        ("1", 1, "1 failed, 1 passed, 1 xfailed, 1 error"),
    ],
)
def test_nothing_is_skipped_unnoticed_where_servers_are_required(
    required: str, code: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "test_stories.py").write_text(STORIES)
    command = (sys.executable, "-m", "pytest", "-p", "tests.conftest", "-rs", tmp_path)
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "REQUIRE_SERVICES": required},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stdout
    assert said in done.stdout
    assert "`make services` starts it" in done.stdout
