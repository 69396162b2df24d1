"""Who may import whom: the architecture as a table."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import BaseModel, RootModel

ROOT = Path(__file__).parent.parent
OURS = ("contracts", "sagas", "participants", "gateway", "shop")

#: Package → what of ours it may import. `shop` is the composition root: it may import all.
MAY_IMPORT = {
    "contracts": {"contracts"},
    "sagas": {"sagas"},
    "participants": {"participants", "contracts", "sagas"},
    "gateway": {"gateway", "contracts", "sagas"},
    "shop": set(OURS),
}
SERVICES = ("customer", "inventory", "order", "payment", "product", "shipping")
#: The files that name several services: the choreography's own, and the list of services.
TOGETHER = {"participants/choreography.py", "participants/services.py"}


def _imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: import absolutely"
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    assert _files(package)
    for file in _files(package):
        foreign = {name.split(".")[0] for name in _imports(file)} & set(OURS)
        assert foreign <= MAY_IMPORT[package], f"{file} imports {foreign - MAY_IMPORT[package]}"


@pytest.mark.parametrize("service", SERVICES)
def test_a_participant_never_imports_another(service: str) -> None:
    others = tuple(f"participants.{other}" for other in SERVICES if other != service)
    for file in _files(f"participants/{service}"):
        for name in _imports(file):
            assert not name.startswith(others), f"{file} imports {name}"


def test_only_the_files_of_the_table_name_several_services() -> None:
    for file in (ROOT / "participants").glob("*.py"):
        named = {name.split(".")[1] for name in _imports(file) if name.count(".") >= 1}
        if len(named & set(SERVICES)) > 1:
            assert str(file.relative_to(ROOT)) in TOGETHER


@pytest.mark.parametrize("service", SERVICES)
def test_a_domain_is_plain(service: str) -> None:
    file = ROOT / "participants" / service / "domain.py"
    for name in _imports(file):
        assert not name.startswith(("sagas", "aiohttp", "asyncio", "time", "logging")), name


def test_the_engine_knows_no_word_of_the_shop() -> None:
    words = ("payment", "shipment", "parcel", "customer", "inventory", "checkout")
    for file in _files("sagas"):
        text = file.read_text().lower()
        # Docstrings may give an example in the shop's words; code may not.
        code = "\n".join(_code_lines(file, text))
        for word in words:
            assert word not in code, f"{file} says {word!r}"


def _code_lines(file: Path, text: str) -> list[str]:
    lines = text.splitlines()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return [line.split("#")[0] for line in lines]


def _classes(module: ModuleType) -> list[type]:
    return [each for each in vars(module).values() if isinstance(each, type)]


@pytest.mark.parametrize("package", ["contracts", "sagas", "participants", "gateway"])
def test_no_model_quotes_what_it_refuses(package: str) -> None:
    """Its errors are logged, and what is refused may be a password."""
    found = set()
    for file in _files(package):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if not name.endswith("__main__"):
            found |= set(_classes(importlib.import_module(name)))
    models = {each for each in found if issubclass(each, BaseModel)} - {BaseModel, RootModel}
    talkative = [each for each in models if not each.model_config.get("hide_input_in_errors")]
    assert not talkative
