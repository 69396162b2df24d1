"""A choreographed saga engine: declare reactions and their undo, and run them without loss."""

from sagas.decision import Context, Decision, Note, Refusal
from sagas.envelope import Command, Event, Message
from sagas.errors import (
    BrokerUnavailable,
    CommandRefused,
    DeclarationError,
    Duplicate,
    NotYet,
    Permanent,
    Retryable,
    SagaError,
    SettingError,
    StoreUnavailable,
)
from sagas.flow import Choreography
from sagas.job import Reply
from sagas.kind import Kind, Step
from sagas.participant import Participant
from sagas.ports import Query
from sagas.reaction import RetryPolicy
from sagas.runner import Runner

__all__ = [
    "BrokerUnavailable",
    "Choreography",
    "Command",
    "CommandRefused",
    "Context",
    "Decision",
    "DeclarationError",
    "Duplicate",
    "Event",
    "Kind",
    "Message",
    "NotYet",
    "Note",
    "Participant",
    "Permanent",
    "Query",
    "Refusal",
    "Reply",
    "RetryPolicy",
    "Retryable",
    "Runner",
    "SagaError",
    "SettingError",
    "Step",
    "StoreUnavailable",
]
