"""What the documentation shows of the code is what the code says."""

from __future__ import annotations

import re

import pytest

from participants.choreography import shop, shop_rules
from sagas.check import check
from shop.docs import FILES, PICTURES, ROOT, refreshed


@pytest.mark.parametrize("name", FILES)
def test_generated_parts_are_current(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "<!-- generated: " in text
    assert refreshed(text) == text, "run `make docs`"


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_current(name: str) -> None:
    assert (ROOT / name).read_text() == PICTURES[name](), "run `make docs`"


PAGES = ["README.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]
PAGES += [f"docs/adr/{page.name}" for page in (ROOT / "docs" / "adr").glob("*.md")]


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_lead_to_what_is_there(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)(?:#[\w-]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_page_can_be_reached_from_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    for name in PAGES:
        if name.startswith("docs/") and name != "docs/README.md":
            assert f"({name.removeprefix('docs/')})" in index, name


def test_the_figures_of_the_shops_check_are_those_that_it_finds() -> None:
    report = check(shop, rules=shop_rules)
    found = f"{report.states} states, {report.transitions} transitions, {report.ends} ends"
    told = [
        told
        for name in PAGES
        for told in re.findall(
            r"order-to-delivery: clean; (.*?) explored", (ROOT / name).read_text()
        )
    ]
    assert len(told) >= 2
    assert set(told) == {found}


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
