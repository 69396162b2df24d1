"""The tutorial's code, put together from its blocks as its reader would.

A Python block says in its first line where it goes: ``# trip.py`` starts a file, ``further down``
goes to its end, ``below NAME`` behind that function.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["blocks", "put"]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PLACE = re.compile(r"# (?P<file>\w+\.py)(?:, (?:further (?P<end>down)|below (?P<below>\w+)))?\n")


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The language and the text of each block, in their order."""
    for found in _BLOCK.finditer(text):
        yield found[1], found[2]


def put(files: dict[str, str], block: str) -> None:
    """Put a Python block where its first line says. ``ValueError`` when it says nothing."""
    place = _PLACE.match(block)
    if place is None:
        raise ValueError(f"a Python block starts with the file it belongs to, not {block[:40]!r}")
    name = place["file"]
    if place["below"]:
        files[name] = _below(files[name], place["below"], block)
    elif place["end"]:
        files[name] += f"\n\n{block}"
    else:
        files[name] = block


def _below(text: str, name: str, code: str) -> str:
    """Behind the function ``name``: two empty lines end it."""
    start = text.index(f"def {name}(")
    end = text.index("\n\n\n", start)
    return f"{text[:end]}\n\n\n{code.rstrip()}{text[end:]}"
