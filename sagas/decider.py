"""What one job does to its document: admitted, run, decided, entered, or written down as trouble.

Everything here happens in memory and at once. Nothing counts until the worker's write is done; a
document whose write lost its race is thrown away, and its jobs start over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from sagas.decision import Decision, Refusal
from sagas.effects import Exhausted
from sagas.envelope import Message, described
from sagas.errors import CommandRefused, NotYet, Permanent, Retryable
from sagas.events import DiscardRequested, ReplayRequested
from sagas.intake import TIMER, Intake
from sagas.job import WAKE_UP, Job, Reply, Work
from sagas.participant import Participant
from sagas.ports import Ids
from sagas.reaction import Reaction, RetryPolicy
from sagas.rules import Verdict, admit, record
from sagas.trouble import Trouble

__all__ = ["Decider"]

#: How long a message may come before what it builds on: some 20 s in all.
NOT_YET = RetryPolicy(attempts=9, first_s=0.1, cap_s=6.0)


class Decider:
    """Decides jobs of one participant.

    ``start_effect(job, work, reaction)`` runs a reaction that reaches outside; ``reload(job)`` has
    the job decided again on what is stored now.
    """

    def __init__(
        self,
        participant: Participant[Any],
        intake: Intake,
        ids: Ids,
        *,
        start_effect: Callable[[Job, Work, Reaction], None],
        reload: Callable[[Job], None],
        alone: bool,
    ) -> None:
        self._participant = participant
        self._intake = intake
        self._ids = ids
        self._start_effect = start_effect
        self._reload = reload
        self._alone = alone
        self.trouble = Trouble(participant.name, ids, self._emit)

    def decide(self, job: Job, work: Work) -> list[Job]:
        """Take a job as far as it goes now; returns the jobs that a wake-up expands into."""
        try:
            return self._advance(job, work)
        except Exception as error:  # a reaction's own fault: it concerns this job alone
            self._fail(job, work, error)
            return []

    def _advance(self, job: Job, work: Work) -> list[Job]:
        if job.message is WAKE_UP:
            return self._due_jobs(work)
        if job.finished:
            if job.started_on is work.aggregate:
                self._conclude(job, work, job.result)
                return []
            # The document was reloaded meanwhile: decide again; what was due may be done by now.
            if job.was_due:
                return self._due_jobs(work)
            job.again()
        if isinstance(job.event, ReplayRequested | DiscardRequested) and job.reaction is None:
            self.trouble.operate(job.event, job, work)
            work.jobs.append(job)
        elif job.delivery is not None and self.trouble.is_waiting(job.message, work):
            work.jobs.append(job)  # stored here already: a repeat
        elif self._is_held_back(job, work):
            self.trouble.hold(job, work)
            work.jobs.append(job)
        elif job.fault is not None:
            raise job.fault
        else:
            self._react(job, work)
        return []

    def _is_held_back(self, job: Job, work: Work) -> bool:
        """Behind a dead letter of its saga waits what came after it: not a command, whose caller
        waits, and not a stored retry, which came before it and may be what it lacks."""
        return bool(
            work.aggregate.dead and work.kind.by_saga and job.future is None and job.attempt == 1
        )

    def _react(self, job: Job, work: Work) -> None:
        reaction, aggregate = job.reaction, work.aggregate
        assert reaction is not None
        verdict = admit(aggregate, reaction, job.message, effect_ran=job.effect_ran)
        if verdict is Verdict.SKIP:
            job.reply = Reply(aggregate.state, repeated=True)
            self.trouble.recovered(job, work)
            work.jobs.append(job)
        elif verdict is Verdict.INVERSE:
            step = reaction.step
            assert step is not None
            assert step.undo is not None
            job.inverse = self._intake.job_for(aggregate.undone_by[step.name]).event
            self._start_effect(job, work, step.undo)
        elif reaction.is_async:
            self._start_effect(job, work, reaction)
        else:
            arguments = self._intake.arguments(reaction, job, aggregate, work.now)
            self._conclude(job, work, reaction.function(*arguments))

    # -------------------------------------------------------------------------------------- due

    def _due_jobs(self, work: Work) -> list[Job]:
        """Everything in this document that is due, earliest first."""
        due: list[tuple[float, Job]] = []
        for name, moment in work.aggregate.timers.items():
            if moment <= work.now:
                due.append((moment, self._timer_job(work, name, moment)))
        for retry in work.aggregate.retries.values():
            if retry.due <= work.now:
                job = self._stored_job(work, retry.message)
                job.attempt = retry.attempt + 1
                due.append((retry.due, job))
        return [job for _, job in sorted(due, key=lambda pair: pair[0])]

    def _stored_job(self, work: Work, message: Message) -> Job:
        if message.type.startswith(TIMER):
            timer = work.kind.timers.get(message.type.removeprefix(TIMER))
            if timer is not None:
                return Job(work.kind, work.aggregate.key, message, timer)
        job = self._intake.job_for(message)
        job.move_to(work.kind, work.aggregate.key)
        return job

    def _timer_job(self, work: Work, name: str, moment: float) -> Job:
        key = work.aggregate.key
        message = Message(
            id=f"{TIMER}{key}:{name}:{moment:.6f}",
            type=TIMER + name,
            source=f"/{self._participant.name}",
            subject=key,
            saga_id=key if work.kind.by_saga else None,
            time=moment,
        )
        reaction = work.kind.timers.get(name)
        fault = None if reaction is not None else Permanent(f"timer {name!r} is not declared")
        return Job(work.kind, key, message, reaction, fault=fault)

    # ------------------------------------------------------------------------------- concluding

    def _conclude(self, job: Job, work: Work, result: Any) -> None:
        """Enter what a reaction came to into the document."""
        reaction = job.reaction
        assert reaction is not None
        if isinstance(result, Exception):
            raise result
        if job.inverse is not None:
            work.jobs.append(job)  # the undo itself has reported already
        elif isinstance(result, Refusal):
            self._refuse(job, work, result)
        elif isinstance(result, Decision):
            self._apply(job, work, result)
        else:
            raise Permanent(f"{reaction.where} returned {result!r}, which is no Decision")

    def _apply(self, job: Job, work: Work, decision: Decision[Any, Any]) -> None:
        reaction, message, aggregate = job.reaction, job.message, work.aggregate
        assert reaction is not None
        emitter = reaction.spent if job.spending and reaction.spent is not None else reaction
        _verify(emitter, decision)
        aggregate.state = decision.state
        remember = (job.future is None or job.remember) and reaction.timer is None
        record(aggregate, emitter, message, decision.events, remember=remember)
        if reaction.timer is not None:
            aggregate.timers.pop(reaction.timer, None)
        for name, seconds in (decision.timers or {}).items():
            if seconds is None:
                aggregate.timers.pop(name, None)
            else:
                aggregate.timers[name] = work.now + seconds
        for event in decision.events:
            self._emit(work, message, event, attempt=job.spent_after or job.attempt)
        self.trouble.recovered(job, work)
        if decision.attention is not None:
            code = f"{reaction.name}_attention"
            self.trouble.need_attention(message, work, reaction.name, code, decision.attention)
        work.notes += decision.notes
        work.dirty = True
        job.reply = Reply(decision.state, decision.reply)
        work.jobs.append(job)

    def _refuse(self, job: Job, work: Work, refusal: Refusal) -> None:
        """The caller hears it once the document that it was decided on is known to be current."""
        if job.future is None:
            raise Permanent(f"{refusal.code}: only commands may be refused, events are facts")
        if work.dirty or job.reloaded or self._alone:
            job.reply = CommandRefused(refusal.code, refusal.detail)
            work.jobs.append(job)
        else:
            # A cached copy may be out of date where several instances write: look again.
            job.again()
            job.reloaded = True
            self._reload(job)

    def _fail(self, job: Job, work: Work, error: Exception) -> None:
        """A job ended with an exception: told to its caller, or stored as trouble."""
        if job.future is not None:
            if not job.future.done():
                job.future.set_exception(error)
            return
        others = any(id_ != job.message.id for id_ in work.aggregate.retries)
        if isinstance(error, NotYet) and job.attempt >= NOT_YET.attempts and not others:
            self.trouble.dead_letter(job, work, Permanent(str(error)))
        elif isinstance(error, NotYet):
            wait_s = NOT_YET.wait_s(job.attempt, self._ids.random())
            self.trouble.wait(job, work, wait_s)
        elif isinstance(error, Retryable):
            reaction = job.reaction
            assert reaction is not None
            failed = error
            if not isinstance(failed, Exhausted):
                wait_s = reaction.retry.wait_s(job.attempt, self._ids.random())
                failed = Exhausted(job.attempt, wait_s, error)
            spent = failed.attempts >= reaction.retry.attempts
            if spent and reaction.spent is not None and not job.spending:
                job.again()
                # The last word has tries of its own; what it says counts those before it.
                job.attempt, job.spending, job.spent_after = 1, True, failed.attempts
                self._start_effect(job, work, reaction.spent)
                return
            failed.attempts = max(failed.attempts, job.spent_after)
            self.trouble.postpone(job, work, failed)
        else:
            self.trouble.dead_letter(job, work, error)
        work.jobs.append(job)

    def _emit(self, work: Work, cause: Message, event: BaseModel, *, attempt: int = 1) -> None:
        """Put an event into the document's outbox."""
        what, aggregate = described(type(event)), work.aggregate
        if what.latest:
            # Absolute values: within one write the last one says it all.
            for earlier in [message for message in work.fresh if message.type == what.type]:
                work.fresh.remove(earlier)
                aggregate.outbox.remove(earlier)
        to = self._participant.name if what.private else None
        if isinstance(event, ReplayRequested | DiscardRequested):
            to = event.participant
        message = Message(
            id=self._ids.new(),
            type=what.type,
            version=what.version,
            source=f"/{self._participant.name}",
            subject=aggregate.key,
            saga_id=aggregate.key if work.kind.by_saga else cause.saga_id,
            sequence=aggregate.version + 1,
            time=work.now,
            causation_id=cause.id,
            request_id=cause.request_id,
            traceparent=cause.traceparent,
            attempt=attempt,
            to=to,
            data=event.__pydantic_serializer__.to_json(event),
            event=event,
        )
        work.fresh.append(message)
        aggregate.outbox.append(message)


def _verify(emitter: Reaction, decision: Decision[Any, Any]) -> None:
    """What types could not tell at import: every event and timer is declared."""
    for event in decision.events:
        if type(event) not in emitter.emission_types:
            raise Permanent(
                f"{emitter.where} emitted {type(event).__name__}, which it does not declare"
            )
    for name in decision.timers or ():
        if name not in emitter.kind.timers:
            raise Permanent(f"{emitter.where} sets timer {name!r}, which is not declared")
