"""What the tracker answers, as types: mypy holds the code to them, clients get them as schemas.

Typed dictionaries, not models: a saga is read often, and is made of what was checked when it came.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, with_config

# pydantic reads those of `typing` only from Python 3.12 on.
from typing_extensions import TypedDict

__all__ = [
    "ActionShown",
    "DeadLetter",
    "DeadLetterPage",
    "EventPage",
    "Failure",
    "Graph",
    "GraphEdge",
    "GraphNode",
    "ListedSaga",
    "Replays",
    "Saga",
    "SagaEvent",
    "SagaPage",
    "SagaStatus",
    "Step",
    "StepStatus",
    "Violation",
    "ViolationEvent",
]

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class SagaStatus(StrEnum):
    RUNNING = "running"
    COMPENSATING = "compensating"
    COMPLETED = "completed"
    COMPENSATED = "compensated"
    ATTENTION = "attention"


class StepStatus(StrEnum):
    PENDING = "pending"
    DONE = "done"
    FAILED = "failed"
    COMPENSATING = "compensating"
    COMPENSATED = "compensated"
    SKIPPED = "skipped"


#: Their values are those of the enumerations, which is where the code takes them from.
_SagaStatus = Annotated[str, Field(json_schema_extra={"enum": [each.value for each in SagaStatus]})]
_StepStatus = Annotated[str, Field(json_schema_extra={"enum": [each.value for each in StepStatus]})]
_LetterStatus = Annotated[str, Field(json_schema_extra={"enum": ["open", "replayed", "discarded"]})]

_closed = with_config(ConfigDict(extra="forbid"))


@_closed
class Step(TypedDict):
    name: str
    participant: str
    status: _StepStatus
    compensation: str | None
    attempts: int
    started_at: Moment | None
    finished_at: Moment | None


@_closed
class Failure(TypedDict):
    """What began the undo; ``step`` is null for a request from outside."""

    step: str | None
    code: str
    detail: str


@_closed
class ViolationEvent(TypedDict):
    event_id: str
    type: str
    participant: str
    occurred_at: Moment
    causation_id: str | None


@_closed
class Violation(TypedDict):
    """An event that the choreography does not allow, with the way so far and what to do."""

    code: str
    name: str
    status: Literal["unconfirmed", "impossible"]
    rule: str
    advice: str
    event: ViolationEvent
    against: list[ViolationEvent]
    trace: list[ViolationEvent]


@_closed
class SagaEvent(TypedDict):
    """``data`` as the event's type has it, without what is secret or personal."""

    event_id: str
    type: str
    participant: str
    occurred_at: Moment
    causation_id: str | None
    data: dict[str, Any]


@_closed
class ListedSaga(TypedDict):
    saga_id: str
    type: str
    status: _SagaStatus
    stuck: bool
    started_at: Moment | None
    updated_at: Moment
    finished_at: Moment | None
    duration_ms: int | None
    steps: list[Step]
    remaining: list[str]
    failure: Failure | None
    violations: list[Violation]


@_closed
class Saga(ListedSaga):
    events: list[SagaEvent]


@_closed
class SagaPage(TypedDict):
    items: list[ListedSaga]
    next_cursor: str | None


@_closed
class EventPage(TypedDict):
    items: list[SagaEvent]
    next_cursor: str | None


@_closed
class GraphNode(TypedDict):
    id: str
    participant: str
    name: str
    kind: str
    pivot: bool
    compensation: str | None


@_closed
class GraphEdge(TypedDict):
    source: str
    target: str
    event: str
    refusal: bool


@_closed
class Graph(TypedDict):
    """The flow, drawn and as data."""

    mermaid: str
    nodes: list[GraphNode]
    edges: list[GraphEdge]


@_closed
class ActionShown(TypedDict):
    """What an operator did to a dead letter."""

    action: str
    by: str
    reason: str
    at: Moment


@_closed
class DeadLetter(TypedDict):
    """``data`` is null for a message that could not even be read."""

    dead_letter_id: str
    saga_id: str | None
    participant: str
    message_id: str
    type: str
    cause: str
    detail: str
    stack: str
    status: _LetterStatus
    occurred_at: Moment
    data: dict[str, Any] | None
    actions: list[ActionShown]


@_closed
class DeadLetterPage(TypedDict):
    items: list[DeadLetter]
    next_cursor: str | None


@_closed
class Replays(TypedDict):
    """How many are replayed now."""

    replays: int
