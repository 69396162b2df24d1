"""``python -m shop.docs``: make the generated parts of the documentation anew.

A generated part stands between two comments, ``<!-- generated: NAME -->`` and ``<!-- end -->``. A
test fails when one is not what this would write.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from participants.choreography import shop
from participants.settings import ShopSettings
from sagas import Choreography
from sagas.envelope import event_type

__all__ = ["FILES", "ROOT", "refreshed"]

ROOT = Path(__file__).parent.parent
FILES = ("README.md",)

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def flow() -> str:
    """The choreography as a Mermaid flowchart."""
    return f"```mermaid\n{shop.mermaid()}```\n"


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
    spent = () if reaction.spent is None else reaction.spent.refuses
    undone = "–" if undo is None else f"{undo.name}, on {_names(undo.triggers)}"
    name = f"{step.name} (**pivot**)" if step.pivot else step.name
    cells = (
        name,
        reaction.kind.participant.name,
        _names(reaction.triggers),
        _names(reaction.emits),
        _names(tuple(dict.fromkeys((*reaction.refuses, *spent)))),
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
        default = f"`{each.default}`" if each.default != "" else "made and kept"
        lines.append(
            f"| `SHOP_{each.name.upper()}` | `{flag}` | {default} | {each.metadata['help']} |"
        )
    return "\n".join(lines) + "\n"


_PARTS: dict[str, Callable[[], str]] = {"flow": flow, "steps": steps, "settings": settings}


def refreshed(text: str) -> str:
    """``text`` with every generated part as it should be."""
    return _PART.sub(lambda part: part[1] + _PARTS[part[2]]() + part[3], text)


def main() -> None:
    argparse.ArgumentParser(prog="python -m shop.docs", description=__doc__).parse_args()
    for name in FILES:
        file = ROOT / name
        before = file.read_text()
        after = refreshed(before)
        file.write_text(after)
        print(f"{name}: {'changed' if after != before else 'current'}")


if __name__ == "__main__":
    main()
