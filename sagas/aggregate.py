"""The document of one aggregate: the domain's state, and what the engine remembers beside it.

State, inbox, step statuses, timers, retries, held messages and outbox live in one document, so one
atomic write moves them together, on any store, without a transaction across documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson
from pydantic import BaseModel

from sagas.envelope import Message, decode, encode
from sagas.kind import Kind
from sagas.ports import Record, Scalar, Write

__all__ = ["Aggregate", "DeadLetter", "Retry", "StepStatus"]


class StepStatus(StrEnum):
    """Where a step stands in one saga. A step that never ran has no status."""

    DONE = "done"
    REFUSED = "refused"
    UNDONE = "undone"
    #: The undo came first: the step will never run.
    TOMBSTONE = "tombstone"


@dataclass(slots=True)
class Retry:
    """A delivery that waits for its next try, stored so that a crash does not start it over."""

    message: Message
    attempt: int
    due: float


@dataclass(slots=True)
class DeadLetter:
    """A message that cannot be processed, and what it holds back behind it."""

    id: str
    message: Message
    cause: str


@dataclass(slots=True)
class Aggregate:
    """One document in memory. Mutated only by its runner; thrown away when its write fails."""

    key: str
    version: int = 0
    state: BaseModel | None = None
    steps: dict[str, StepStatus] = field(default_factory=dict)
    #: The message that undid each undone step.
    undone_by: dict[str, Message] = field(default_factory=dict)
    inbox: list[str] = field(default_factory=list)
    sequences: dict[str, int] = field(default_factory=dict)
    timers: dict[str, float] = field(default_factory=dict)
    retries: dict[str, Retry] = field(default_factory=dict)
    attention: list[str] = field(default_factory=list)
    dead: dict[str, DeadLetter] = field(default_factory=dict)
    held: list[Message] = field(default_factory=list)
    outbox: list[Message] = field(default_factory=list)
    #: When this was last known to be what is stored.
    fresh_at: float = 0.0

    @property
    def due(self) -> float | None:
        """The earliest moment at which something here has to happen."""
        moments = [*self.timers.values(), *(retry.due for retry in self.retries.values())]
        return min(moments) if moments else None

    def write(self, kind: Kind[Any]) -> Write:
        """The write that makes this document durable as its next version."""
        fields: dict[str, Scalar] = {"present": self.state is not None}
        if self.state is not None and kind.fields is not None:
            fields.update(kind.fields(self.state))
        return Write(
            collection=kind.name,
            key=self.key,
            expected=self.version,
            body=self._body(),
            outbox=tuple(self.outbox),
            due=self.due if self.timers or self.retries else None,
            fields=fields,
        )

    def _body(self) -> bytes:
        body: dict[str, Any] = {}
        if self.state is not None:
            body["state"] = orjson.Fragment(self.state.__pydantic_serializer__.to_json(self.state))
        if self.steps:
            body["steps"] = self.steps
        if self.inbox:
            body["inbox"] = self.inbox
        if self.sequences:
            body["sequences"] = self.sequences
        if self.timers:
            body["timers"] = self.timers
        if self.attention:
            body["attention"] = self.attention
        if self.undone_by:
            body["undone_by"] = {name: _text(message) for name, message in self.undone_by.items()}
        if self.retries:
            body["retries"] = {
                name: [_text(retry.message), retry.attempt, retry.due]
                for name, retry in self.retries.items()
            }
        if self.dead:
            body["dead"] = [
                [dead.id, _text(dead.message), dead.cause] for dead in self.dead.values()
            ]
        if self.held:
            body["held"] = [_text(message) for message in self.held]
        return orjson.dumps(body)

    @classmethod
    def read(cls, kind: Kind[Any], record: Record, now: float) -> Aggregate:
        """The document as stored. Raises ``ValidationError`` when the state does not fit."""
        body = orjson.loads(record.body)
        state = body.get("state")
        return cls(
            key=record.key,
            version=record.version,
            state=None if state is None else kind.state.model_validate_json(orjson.dumps(state)),
            steps={name: StepStatus(status) for name, status in body.get("steps", {}).items()},
            undone_by={
                name: decode(message.encode())
                for name, message in body.get("undone_by", {}).items()
            },
            inbox=body.get("inbox", []),
            sequences=body.get("sequences", {}),
            timers=body.get("timers", {}),
            retries={
                name: Retry(decode(message.encode()), attempt, due)
                for name, (message, attempt, due) in body.get("retries", {}).items()
            },
            attention=body.get("attention", []),
            dead={
                id_: DeadLetter(id_, decode(message.encode()), cause)
                # Documents written earlier have one more element, which nothing reads.
                for id_, message, cause, *_ in body.get("dead", [])
            },
            held=[decode(message.encode()) for message in body.get("held", [])],
            outbox=list(record.outbox),
            fresh_at=now,
        )


def _text(message: Message) -> str:
    # A string rather than a nested document: what is held may not even be valid for its contract.
    return encode(message).decode()
