"""``python -m shop.docs``: make what is generated in the documentation anew.

A generated part stands between two comments, ``<!-- generated: NAME -->`` and ``<!-- end -->``;
pictures are whole files. A test fails when one is not what this would write.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from gateway.settings import all_settings
from participants.choreography import shop
from participants.settings import ShopSettings
from sagas import Choreography
from sagas.check.canvas import canvas
from sagas.check.drawing import graph
from sagas.envelope import event_type
from sagas.tracker import BREACHES
from shop.tutorial import blocks, put

__all__ = ["FILES", "PICTURES", "ROOT", "refreshed"]

ROOT = Path(__file__).parent.parent
#: Pages with generated parts.
FILES = ("README.md", "docs/choreography.md", "docs/conformance.md", "docs/gateway.md")

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def flow() -> str:
    """The choreography as a Mermaid flowchart."""
    return f"```mermaid\n{graph(shop)}```\n"


def each_part() -> str:
    """The canvas, a level below the page's own headings; what precedes the first is said there."""
    _, _, participants = canvas(shop).partition("\n## ")
    return f"\n## {participants}".replace("\n## ", "\n### ") + "\n"


def told(page: str, name: str) -> Choreography:
    """The choreography that a page builds out of its blocks, in a file of the same name."""
    files: dict[str, str] = {}
    for language, block in blocks((ROOT / "docs" / page).read_text()):
        if language == "python":
            put(files, block)
    names: dict[str, Any] = {"__name__": name}
    exec(compile(files[f"{name}.py"], f"{name}.py", "exec"), names)
    found: Choreography = names[name]
    return found


def steps() -> str:
    """The steps as a table, from the declarations."""
    lines = [
        "| step | participant | on | says | or refuses | undone by, on | kept on |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_row(shop, place) for place in range(len(shop.steps))]
    return "\n".join(lines) + "\n"


def _row(choreography: Choreography, place: int) -> str:
    step = choreography.steps[place]
    reaction, undo = step.reaction, step.undo
    undone = "–" if undo is None else f"{undo.name}, on {_names(undo.triggers)}"
    name = f"{step.name} (**pivot**)" if step.pivot else step.name
    cells = (
        name,
        reaction.kind.participant.name,
        _names(reaction.triggers),
        _names(reaction.emits),
        _names(reaction.may_refuse),
        undone,
        _names(step.kept_on),
    )
    return f"| {' | '.join(cells)} |"


def _names(classes: tuple[type, ...]) -> str:
    return ", ".join(event_type(cls) for cls in classes) or "–"


def settings() -> str:
    """Every setting with its default."""
    lines = ["| variable | flag of `shop run` | default | what it is |", "|---|---|---|---|"]
    for each in fields(ShopSettings):
        flag = "--" + each.name.replace("_", "-")
        absent = "none" if each.name.endswith("_secrets") else "made and kept"
        default = f"`{each.default}`" if each.default != "" else absent
        lines.append(
            f"| `SHOP_{each.name.upper()}` | `{flag}` | {default} | {each.metadata['help']} |"
        )
    return "\n".join(lines) + "\n"


def violations() -> str:
    """The codes of live conformance."""
    lines = ["| code | name | what is wrong |", "|---|---|---|"]
    lines += [f"| {each.code} | {each.name} | {each.title} |" for each in BREACHES.values()]
    return "\n".join(lines) + "\n"


def gateway() -> str:
    """Every setting of the gateway with its default."""
    lines = ["| variable | default | | what it is |", "|---|---|---|---|"]
    for each in all_settings():
        default = f"`{each.default}`" if each.default else ""
        if each.form.is_required:
            default = "required"
        scope = "each" if each.is_per_upstream else ""
        lines.append(f"| `{each.variable}` | {default} | {scope} | {each.text} |")
    return "\n".join(lines) + "\n"


_PARTS: dict[str, Callable[[], str]] = {
    "canvas": each_part,
    "flow": flow,
    "gateway": gateway,
    "settings": settings,
    "steps": steps,
    "violations": violations,
}
#: Files that are generated as a whole.
PICTURES: dict[str, Callable[[], str]] = {
    "docs/choreography.svg": lambda: graph(shop, "svg"),
    "docs/flight.svg": lambda: graph(told("cancelling.md", "flight"), "svg"),
    "docs/trip.svg": lambda: graph(told("tutorial.md", "trip"), "svg"),
}


def refreshed(text: str) -> str:
    """``text`` with every generated part as it should be."""
    return _PART.sub(lambda part: part[1] + _PARTS[part[2]]() + part[3], text)


def main() -> None:
    argparse.ArgumentParser(prog="python -m shop.docs", description=__doc__).parse_args()
    for name in FILES:
        _write(name, refreshed((ROOT / name).read_text()))
    for name, made in PICTURES.items():
        _write(name, made())


def _write(name: str, text: str) -> None:
    file = ROOT / name
    changed = not file.exists() or file.read_text() != text
    file.write_text(text)
    print(f"{name}: {'changed' if changed else 'current'}")


if __name__ == "__main__":
    main()
