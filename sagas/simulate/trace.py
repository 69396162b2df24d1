"""What happened, in order, with virtual times: the same for the same seed, byte for byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Entry", "Trace"]


class Entry(NamedTuple):
    """``who`` is a process (or the world); ``details`` become text only when somebody looks."""

    at: float
    who: str
    what: str
    details: tuple[object, ...]


@dataclass(slots=True)
class Trace:
    """``names`` shortens keys: a saga's id is long, ``saga 1`` is read at a glance."""

    entries: list[Entry]
    names: dict[str, str]

    def lines(self) -> list[str]:
        """One line for each entry."""
        return [
            f"{entry.at:10.4f} {entry.who:<12} {entry.what:<10} {self.text(entry)}".rstrip()
            for entry in self.entries
        ]

    def text(self, entry: Entry) -> str:
        """The details in words."""
        return " ".join(self.short(detail) for detail in entry.details)

    def short(self, detail: object) -> str:
        text = str(detail)
        return self.names.get(text, text)
