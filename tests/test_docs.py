"""What the documentation shows of the code is what the code says."""

from __future__ import annotations

import re
from inspect import signature

import pytest

from participants.choreography import shop, shop_rules
from sagas import Context, Decision, Event, Participant, RetryPolicy, Step
from sagas.check import CODES, check
from sagas.reaction import ReactionKind
from shop.docs import FILES, PICTURES, ROOT, refreshed
from shop.tutorial import blocks


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
    record = (ROOT / "docs" / "adr" / "0004-what-is-proved-and-by-what.md").read_text()
    assert f"The shop has {report.states} states" in record


def test_the_readmes_example_is_the_tutorials() -> None:
    """Which is run; so the page that most people read cannot be wrong without a test saying so."""
    lessons = "".join(text for _, text in blocks((ROOT / "docs" / "tutorial.md").read_text()))
    codes = [
        text for language, text in blocks((ROOT / "README.md").read_text()) if language == "python"
    ]
    assert codes
    for line in (line for text in codes for line in text.splitlines() if line):
        assert line.partition("  #")[0] in lessons, line


def test_what_the_record_of_proofs_names_exists() -> None:
    """Properties ↔ rules ↔ invariants ↔ tests: no name in the tables is made up or left behind."""
    page = (ROOT / "docs" / "adr" / "0004-what-is-proved-and-by-what.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    for code in re.findall(r"SAGA\d+", page):
        assert code in CODES, code
    sources = [
        file.read_text()
        for folder in ("sagas", "participants", "tests")
        for file in (ROOT / folder).rglob("*.py")
    ]
    named = {name for row in rows for name in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", row)}
    assert len(named) > 25
    for name in named:
        # A few invariants are the world's own, and are told where they are found broken.
        known = (f"def {name}(", f'"{name}: ')
        assert any(word in source for source in sources for word in known), name


def test_the_reference_names_everything_that_can_be_declared() -> None:
    page = (ROOT / "docs" / "declaring.md").read_text()
    declared = [Participant.step, Step.undone, Step.spent, RetryPolicy, Decision.__init__]
    names = {name for each in declared for name in signature(each).parameters}
    names |= set(Context.__dataclass_fields__) | set(Event.__annotations__)
    for name in names - {"self", "state", "events"}:
        assert re.search(rf"\b{name}\b", page), name
    for role in ReactionKind:
        word = {"undo": "undone", "follow": "follows"}.get(role.value, role.value)
        assert f".{word}(…)`" in page


def test_the_readme_names_only_targets_that_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
