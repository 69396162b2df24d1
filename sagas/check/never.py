"""Rules that a choreography states about itself: what must never happen, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from sagas.envelope import event_type

__all__ = ["Never"]

Thing = str | type[BaseModel]


@dataclass(frozen=True)
class Never:
    """``what`` never happens once ``after`` has happened, or before ``before`` has.

    Each is the name of a step or of an undo, or an event class. A step happens with its effect, or
    with the report from outside that starts it: news that arrive late break no rule. ``unless``
    names events that lift the rule once they are sent. ``why`` is quoted in the finding. ::

        Never("dispatch_parcel", after="refund_payment", why="goods never leave unpaid")
    """

    what: Thing
    after: Thing | None = None
    before: Thing | None = None
    unless: Sequence[type[BaseModel]] | type[BaseModel] = ()
    why: str = ""

    def __post_init__(self) -> None:
        if (self.after is None) == (self.before is None):
            raise ValueError("a rule needs either `after` or `before`; give one of them")

    @property
    def lifted_by(self) -> tuple[type[BaseModel], ...]:
        """``unless`` as a tuple."""
        return (self.unless,) if isinstance(self.unless, type) else tuple(self.unless)

    @property
    def other(self) -> Thing:
        """What the rule compares with."""
        other = self.before if self.after is None else self.after
        assert other is not None
        return other

    def __str__(self) -> str:
        word = "before" if self.after is None else "after"
        told = f"{name(self.what)} never happens {word} {name(self.other)}"
        lifted = " or ".join(event_type(cls) for cls in self.lifted_by)
        return told + (f" (unless {lifted})" if lifted else "")


def name(thing: Thing) -> str:
    """How a rule names a thing."""
    return thing if isinstance(thing, str) else event_type(thing)
