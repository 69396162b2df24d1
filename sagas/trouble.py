"""What becomes of a job that cannot finish: a stored retry, attention, or a dead letter.

The rules: a wait of more than a moment is stored and the delivery acked. Retries spent: the step's
declared refusal, or attention while tries go on; nothing is dropped. A message that can never be
processed becomes a dead letter, stored in the document of its own saga, which it holds back (and no
other). An operator replays or discards it; what it held back follows in its order.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime

from pydantic import BaseModel

from sagas.aggregate import Aggregate, DeadLetter, Retry, StepStatus
from sagas.decision import Note
from sagas.effects import Exhausted
from sagas.envelope import Message, encode, event_type
from sagas.events import (
    AttentionNeeded,
    AttentionResolved,
    DeadLettered,
    DeadLetterResolved,
    DiscardRequested,
    ReplayRequested,
    StepRetrying,
)
from sagas.job import Job, Work
from sagas.ports import Ids
from sagas.reaction import Reaction

__all__ = ["Trouble"]

Emit = Callable[[Work, Message, BaseModel], None]


class Trouble:
    """Writes failures into documents, and takes them out again."""

    def __init__(self, participant: str, ids: Ids, emit: Emit) -> None:
        self._participant = participant
        self._ids = ids
        self._emit = emit
        self.retries = 0
        self.dead_letters = 0

    # ------------------------------------------------------------------------------- retries

    def postpone(self, job: Job, work: Work, failed: Exhausted) -> None:
        """Store the next try: the delivery can be acked."""
        assert job.reaction is not None
        policy = job.reaction.retry
        step, aggregate = job.reaction.name, work.aggregate
        spent = failed.attempts >= policy.attempts
        wait_s = policy.cap_s if spent else failed.wait_s
        due = work.now + wait_s
        aggregate.retries[job.message.id] = Retry(job.message, failed.attempts, due)
        if job.reaction.timer is not None:
            aggregate.timers.pop(job.reaction.timer, None)
        self.retries += 1
        retrying = StepRetrying(
            participant=self._participant,
            step=step,
            attempt=failed.attempts,
            due=datetime.fromtimestamp(due, UTC),
            reason=str(failed),
        )
        if not spent:
            self._emit(work, job.message, retrying)
        elif step not in aggregate.attention:
            aggregate.attention.append(step)
            self.need_attention(job.message, work, step, "retries_spent", str(failed))
        work.dirty = True

    def wait(self, job: Job, work: Work, wait_s: float) -> None:
        """Store a message that came too early, without a word: it is nobody's failure."""
        due = work.now + wait_s
        work.aggregate.retries[job.message.id] = Retry(job.message, job.attempt, due)
        work.dirty = True

    def need_attention(self, cause: Message, work: Work, step: str, code: str, detail: str) -> None:
        """Call a person, in the log and on the saga."""
        where = f"{self._participant}/{step} of {work.aggregate.key}"
        text = f"{where} needs attention: {code}: {detail} (request {cause.request_id})"
        work.notes.append(Note("attention", text))
        event = AttentionNeeded(participant=self._participant, step=step, code=code, detail=detail)
        self._emit(work, cause, event)
        work.dirty = True

    def recovered(self, job: Job, work: Work) -> None:
        """The reaction came through: no retry is stored for it any more."""
        assert job.reaction is not None
        aggregate, reaction = work.aggregate, job.reaction
        if aggregate.retries:
            if aggregate.retries.pop(job.message.id, None) is not None:
                work.dirty = True
            if _is_undone(reaction, aggregate):
                assert reaction.step is not None
                # Undone: the step's own next try must not come.
                types = {event_type(cls) for cls in reaction.step.reaction.triggers}
                names = {reaction.step.name}
                for id_, retry in list(aggregate.retries.items()):
                    if retry.message.type in types:
                        del aggregate.retries[id_]
                self._settled(job.message, work, names)
        if aggregate.attention:
            self._settled(job.message, work, {reaction.name})

    def _settled(self, cause: Message, work: Work, steps: set[str]) -> None:
        for step in steps.intersection(work.aggregate.attention):
            work.aggregate.attention.remove(step)
            work.dirty = True
            self._emit(work, cause, AttentionResolved(participant=self._participant, step=step))

    # -------------------------------------------------------------------------- dead letters

    def is_waiting(self, message: Message, work: Work) -> bool:
        """Whether this message is stored here already: as a retry, dead, or held."""
        aggregate = work.aggregate
        if not (aggregate.retries or aggregate.dead or aggregate.held):
            return False  # the usual case, on a hot path
        return (
            message.id in aggregate.retries
            or any(dead.message.id == message.id for dead in aggregate.dead.values())
            or any(held.id == message.id for held in aggregate.held)
        )

    def hold(self, job: Job, work: Work) -> None:
        """Keep a message behind the dead letter of its saga."""
        work.aggregate.held.append(job.message.without_event())
        work.aggregate.retries.pop(job.message.id, None)
        if job.reaction is not None and job.reaction.timer is not None:
            work.aggregate.timers.pop(job.reaction.timer, None)
        work.dirty = True

    def dead_letter(self, job: Job, work: Work, error: BaseException) -> None:
        """Store what cannot be processed, with its cause and stack, and tell everybody."""
        message = job.message.without_event()
        stack = "".join(traceback.format_exception(error))
        id_ = self._ids.new()
        cause = type(error).__name__
        timer = None if job.reaction is None else job.reaction.timer
        if timer is not None:
            work.aggregate.timers.pop(timer, None)
        work.aggregate.retries.pop(message.id, None)
        work.aggregate.dead[id_] = DeadLetter(id_, message, cause)
        self.dead_letters += 1
        text = f"{self._participant}: {message.type} {message.id} is a dead letter: {error}"
        work.notes.append(Note("dead_letter", text))
        event = DeadLettered(
            dead_letter_id=id_,
            collection=work.kind.name,
            key=work.aggregate.key,
            participant=self._participant,
            message_id=message.id,
            message_type=message.type,
            cause=cause,
            detail=str(error),
            stack=stack,
            message=encode(message).decode(),
        )
        self._emit(work, message, event)
        work.dirty = True

    def operate(self, event: ReplayRequested | DiscardRequested, job: Job, work: Work) -> None:
        """Replay or discard a dead letter; unknown ones (a repeat) change nothing."""
        aggregate = work.aggregate
        dead = aggregate.dead.pop(event.dead_letter_id, None)
        if dead is None:
            return
        released = list(aggregate.held)
        replayed = isinstance(event, ReplayRequested)
        if replayed:
            released.insert(0, dead.message)
        if not aggregate.dead or replayed:
            aggregate.held.clear()
            for place, message in enumerate(released):
                # Stored as due now, a hair apart: a crash in between keeps them, in their order.
                aggregate.retries[message.id] = Retry(message, 0, work.now + place * 1e-6)
        resolved = DeadLetterResolved(
            dead_letter_id=dead.id,
            participant=self._participant,
            outcome="replayed" if replayed else "discarded",
            by=event.by,
            reason=event.reason,
        )
        self._emit(work, job.message, resolved)
        if not replayed:
            detail = f"{dead.message.type} was discarded by {event.by}: {event.reason}"
            self.need_attention(job.message, work, dead.message.type, "discarded", detail)
        work.dirty = True


def _is_undone(reaction: Reaction, aggregate: Aggregate) -> bool:
    """Whether this undo has taken its step back; one that refused leaves it as it was."""
    step = reaction.step
    if step is None or step.undo is not reaction:
        return False
    return aggregate.steps.get(step.name) in (StepStatus.UNDONE, StepStatus.TOMBSTONE)
