"""The error tree. Every message says what happened, where, and what to do next."""

from __future__ import annotations

__all__ = [
    "BrokerUnavailable",
    "CommandRefused",
    "ContractBroken",
    "DeclarationError",
    "Duplicate",
    "NotYet",
    "Permanent",
    "Retryable",
    "SagaError",
    "SettingError",
    "StoreUnavailable",
    "Undecodable",
    "UnknownEvent",
    "UnknownVersion",
]


class SagaError(Exception):
    """Base of everything the engine raises on purpose."""


class DeclarationError(SagaError):
    """A participant or choreography is declared wrongly. Raised at import or start, never later."""


class SettingError(SagaError):
    """A setting has a value that is not allowed. The message names it, the value and what is."""


class Retryable(SagaError):
    """A step could not finish *now*: it is tried again by its retry policy.

    Raise it from a step for faults that pass by themselves: a time-out, a provider that is down.
    """


class NotYet(Retryable):
    """A message came before what it builds on; no consumer relies on order, so it may still come.

    Tried again quietly for a while; then it is a dead letter.
    """


class Permanent(SagaError):
    """A step can never finish with this message: it becomes a dead letter that holds its saga.

    The class's name is the dead letter's ``cause``, by which operators list and replay.
    """


class Undecodable(Permanent):
    """It is no message at all: its producer has to be mended."""


class UnknownEvent(Permanent):
    """Nobody here reacts to events of this type: a producer is wrong, or this consumer too old."""


class UnknownVersion(Permanent):
    """Its version cannot be read here: this consumer needs newer contracts, then a replay."""


class ContractBroken(Permanent):
    """Its data does not fit its contract."""


class StoreUnavailable(SagaError):
    """The store is out of reach. Consuming pauses; no message is rejected and no retry is spent."""


class BrokerUnavailable(SagaError):
    """The broker is out of reach. Events stay in the outbox until it is back.

    ``taken``: ids of those messages of a failed ``publish`` that the broker took all the same.
    """

    def __init__(self, said: str, taken: frozenset[str] = frozenset()) -> None:
        super().__init__(said)
        self.taken = taken


class CommandRefused(SagaError):
    """A command was understood and declined by the domain: a value for callers, not a fault.

    ``code`` is a stable word (``too_late_to_cancel``), ``detail`` a sentence for people.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class Duplicate(SagaError):
    """A unique field of the document that a command wanted to write is taken."""
