"""Sagas and dead letters, as clients and operators see them."""

from __future__ import annotations

from typing import Any, Literal

from contracts.api.base import (
    ListQuery,
    Query,
    QueryFlag,
    QueryText,
    Request,
    Resource,
    Timestamp,
)
from contracts.values import Identifier, Reason, Time

__all__ = [
    "BulkReplay",
    "CancelSaga",
    "DeadLetter",
    "DeadLettersQuery",
    "DiscardQuery",
    "Graph",
    "Saga",
    "SagaEvent",
    "SagaFailure",
    "SagaListed",
    "SagaStatus",
    "SagaStep",
    "SagasQuery",
    "StepStatus",
]

SagaStatus = Literal["running", "compensating", "completed", "compensated", "attention"]
StepStatus = Literal["pending", "done", "failed", "compensating", "compensated", "skipped"]


class CancelSaga(Request):
    """``POST /api/sagas/{saga_id}/cancel`` (staff)."""

    reason: Reason


class BulkReplay(Request):
    """``POST /api/dead-letters/replay`` (staff): every one that matches, all without a filter."""

    participant: Identifier | None = None
    cause: Reason | None = None
    reason: Reason


class SagasQuery(ListQuery):
    """``GET /api/sagas`` (staff)."""

    status: SagaStatus | None = None
    stuck: QueryFlag | None = None
    type: QueryText | None = None
    since: Time | None = None


class DeadLettersQuery(ListQuery):
    """``GET /api/dead-letters`` (staff)."""

    participant: QueryText | None = None
    cause: QueryText | None = None


class DiscardQuery(Query):
    """``DELETE /api/dead-letters/{id}`` (staff)."""

    reason: QueryText


class SagaStep(Resource):
    name: str
    participant: str
    status: StepStatus
    compensation: str | None
    attempts: int
    started_at: Timestamp | None
    finished_at: Timestamp | None


class SagaFailure(Resource):
    step: str
    code: str
    detail: str


class SagaEvent(Resource):
    """Secret and personal fields in ``data`` are redacted."""

    event_id: str
    type: str
    participant: str
    occurred_at: Timestamp
    causation_id: str | None
    data: dict[str, Any]


class SagaListed(Resource):
    """A saga without its events, as lists show it."""

    saga_id: str
    type: str
    status: SagaStatus
    stuck: bool
    started_at: Timestamp
    updated_at: Timestamp
    finished_at: Timestamp | None
    duration_ms: int | None
    steps: list[SagaStep]
    remaining: list[str]
    failure: SagaFailure | None
    violations: list[Any]


class Saga(SagaListed):
    """``GET /api/sagas/{saga_id}``."""

    events: list[SagaEvent]


class DeadLetter(Resource):
    """A message that no repetition would help, until somebody changes something."""

    dead_letter_id: str
    saga_id: str | None
    participant: str
    type: str
    cause: str
    status: Literal["open", "replayed", "discarded"]
    occurred_at: Timestamp
    data: dict[str, Any] | None


class Graph(Resource):
    """``GET /api/sagas/graph``: generated from the declarations."""

    mermaid: str
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]
