"""What the documentation shows of the code is what the code says."""

from __future__ import annotations

import re

import pytest

from shop.docs import FILES, ROOT, refreshed


@pytest.mark.parametrize("name", FILES)
def test_generated_parts_are_current(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "<!-- generated: " in text
    assert refreshed(text) == text, "run `make docs`"


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
