"""What events say about the business, in the words of whoever declares it.

The engine knows neither money nor goods: a ``Business`` names the figures that events carry, which
of them are in flight while a saga runs, and by which of them failures are told apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import orjson
from pydantic import BaseModel

from sagas.envelope import Message, event_type

__all__ = ["Business", "Fact", "Figures", "InFlight", "checked_facts"]

#: Label → amount: ``{"USD": 1999}``.
Figures = Mapping[str, int]
Reader = Callable[[Mapping[str, Any]], Figures]

#: Whoever forges events chooses their labels: short ones, and few of them, are kept.
LONGEST_LABEL: Final = 80
MOST_LABELS: Final = 100
LARGEST: Final = 1 << 53


@dataclass(frozen=True, slots=True)
class Fact:
    """``read`` finds the figures called ``name`` in the data of the event ``told_by``.

    It sees the raw event, also what is sensitive in it, and what it returns is kept and shown: it
    must leave out what is secret or names a person.
    """

    name: str
    told_by: type[BaseModel]
    read: Reader


@dataclass(frozen=True, slots=True)
class InFlight:
    """The figures of the fact ``of`` are in flight from ``since`` until any of ``until``."""

    name: str
    of: str
    since: type[BaseModel]
    until: Sequence[type[BaseModel]]


@dataclass(frozen=True)
class Business:
    """The declarations of one choreography. ``failures_by``: facts by which failures are told."""

    facts: Sequence[Fact] = ()
    in_flight: Sequence[InFlight] = ()
    failures_by: Sequence[str] = ()
    _by_type: dict[str, list[Fact]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_type: dict[str, list[Fact]] = {}
        for fact in self.facts:
            by_type.setdefault(event_type(fact.told_by), []).append(fact)
        object.__setattr__(self, "_by_type", by_type)

    def read(self, message: Message) -> str:
        """The facts in ``message`` as JSON; nothing for most. What cannot be read is no fact."""
        declared = self._by_type.get(message.type)
        if declared is None:
            return ""
        try:
            data = orjson.loads(message.data)
        except orjson.JSONDecodeError:
            return ""
        found = {}
        for fact in declared:
            try:
                found[fact.name] = dict(fact.read(data))
            except (KeyError, TypeError, ValueError, AttributeError, IndexError):
                continue  # forged, or of another version: whoever can read it complains
        return checked_facts(found)

    @cached_property
    def flows(self) -> tuple[tuple[str, str, str, frozenset[str]], ...]:
        """``in_flight`` by the names of the events."""
        return tuple(
            (
                flow.name,
                flow.of,
                event_type(flow.since),
                frozenset(event_type(cls) for cls in flow.until),
            )
            for flow in self.in_flight
        )


def checked_facts(found: object) -> str:
    """Facts as JSON, without what is none: they may come from anybody."""
    if not isinstance(found, dict):
        return ""
    kept: dict[str, dict[str, int]] = {}
    for name, figures in list(found.items())[:MOST_LABELS]:
        if isinstance(name, str) and isinstance(figures, dict):
            sound = {
                _label(label): amount
                for label, amount in list(figures.items())[:MOST_LABELS]
                if isinstance(label, str) and type(amount) is int and -LARGEST < amount < LARGEST
            }
            if sound:
                kept[_label(name)] = dict(sorted(sound.items()))
    return orjson.dumps(kept).decode() if kept else ""


def _label(text: str) -> str:
    shown = "".join(each if each.isprintable() and each != "|" else "_" for each in text)
    return shown[:LONGEST_LABEL]
