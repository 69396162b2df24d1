"""The base of every event of the shop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

__all__ = ["Event", "Refusal"]


class Event(BaseModel):
    """Something that happened: frozen, past tense, versioned (``class X(Event, version=2)``).

    Adding an optional field keeps the version. Anything else is a new version, with a function in
    ``upcasters`` that turns the data of the old version into that of the next.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_version: ClassVar[int] = 1
    upcasters: ClassVar[Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]]] = {}

    def __init_subclass__(cls, *, version: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.event_version = version

    @classmethod
    def __pydantic_init_subclass__(cls, *, version: int = 1, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)


class Refusal(Event):
    """A step said no. ``code`` is a stable word, ``detail`` a sentence for people."""

    code: str
    detail: str
