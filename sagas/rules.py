"""The compensation rules, as plain functions on one document (DTM and Seata call them a barrier).

- *Idempotent*: any number of repeats, one effect.
- *Empty compensation*: the undo arrives, its step is not recorded: a tombstone. Its effect may have
  happened all the same, so the undo still runs and calls the port's inverse by key.
- *Late forward*: the trigger arrives behind the tombstone: the step does not run. If its effect ran
  already and only the write lost the race, the inverse is called once more before the ack.
- A step that refused has nothing to undo, and its refusal has started the undo of the others.
"""

from __future__ import annotations

from enum import Enum

from pydantic import BaseModel

from sagas.aggregate import Aggregate, StepStatus
from sagas.envelope import Message
from sagas.reaction import Reaction, ReactionKind

__all__ = ["Verdict", "admit", "record"]


class Verdict(Enum):
    RUN = "run"
    #: Nothing to do, now or ever: ack.
    SKIP = "skip"
    #: A late forward whose effect ran: call the inverse, write nothing, ack.
    INVERSE = "inverse"


def admit(
    aggregate: Aggregate, reaction: Reaction, message: Message, *, effect_ran: bool
) -> Verdict:
    """Whether ``reaction`` may run on ``message`` in this document."""
    step = reaction.step
    status = None if step is None else aggregate.steps.get(step.name)
    late = status in (StepStatus.TOMBSTONE, StepStatus.UNDONE)
    if reaction.role is ReactionKind.STEP and late and effect_ran:
        # Before the inbox: another instance may have handled this very message, and undone it.
        return Verdict.INVERSE
    if message.id in aggregate.inbox:
        return Verdict.SKIP
    if reaction.kind.dedupe == "sequence" and reaction.role is ReactionKind.FOLLOW:
        seen = aggregate.sequences.get(_source(message), -1)
        return Verdict.SKIP if message.sequence <= seen else Verdict.RUN
    if step is None:
        return Verdict.RUN
    if reaction.role is ReactionKind.STEP:
        return Verdict.RUN if status is None else Verdict.SKIP
    return Verdict.RUN if status in (None, StepStatus.DONE) else Verdict.SKIP


def record(
    aggregate: Aggregate,
    reaction: Reaction,
    message: Message,
    events: tuple[BaseModel, ...],
    *,
    remember: bool,
) -> None:
    """Enter what ``reaction`` decided into the document's inbox and step statuses."""
    if reaction.kind.dedupe == "sequence" and reaction.role is ReactionKind.FOLLOW:
        aggregate.sequences[_source(message)] = message.sequence
    elif remember:
        aggregate.inbox.append(message.id)
    if reaction.step is None:
        return
    refused = any(type(event) in reaction.refuses for event in events)
    name = reaction.step.name
    if reaction.role is ReactionKind.STEP:
        aggregate.steps[name] = StepStatus.REFUSED if refused else StepStatus.DONE
    elif not refused:
        ran = aggregate.steps.get(name) is StepStatus.DONE
        # A late forward whose effect ran calls the inverse with what the undo was told.
        aggregate.undone_by[name] = message.without_event()
        aggregate.steps[name] = StepStatus.UNDONE if ran else StepStatus.TOMBSTONE


def _source(message: Message) -> str:
    return f"{message.type}:{message.subject}"
