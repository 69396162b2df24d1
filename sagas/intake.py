"""From what arrives to what has to run: which reaction, on which document, with which arguments."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import BaseModel

from sagas.aggregate import Aggregate
from sagas.decision import Context
from sagas.envelope import Command, Message, described, parse_event
from sagas.errors import DeclarationError, NotYet, Permanent, Undecodable, UnknownEvent
from sagas.events import DiscardRequested, ReplayRequested
from sagas.job import Job
from sagas.participant import Participant
from sagas.ports import Delivery
from sagas.reaction import Reaction

__all__ = ["CONTROL", "TIMER", "Intake", "topics_of"]

CONTROL: dict[str, type[ReplayRequested | DiscardRequested]] = {
    cls.__name__: cls for cls in (ReplayRequested, DiscardRequested)
}
#: The type of the message that stands for a stored timer: "timer:" and its name.
TIMER = "timer:"


def topic_of(trigger: type[BaseModel], participant: str) -> str:
    """The routing key under which ``participant`` hears ``trigger``."""
    what = described(trigger)
    return f"{what.type}.{participant}" if what.private else what.type


def topics_of(participant: Participant[Any]) -> list[str]:
    """What a participant's queue is bound to."""
    if participant.catch_all is not None:
        return ["*"]
    heard = {
        topic_of(trigger, participant.name)
        for kind in participant.kinds
        for trigger in kind.reactions
        if not issubclass(trigger, Command)
    }
    return sorted(heard | {f"{name}.{participant.name}" for name in CONTROL})


class Intake:
    """Routes messages to one participant's reactions. Verifies that all resources are there."""

    def __init__(self, participant: Participant[Any], resources: Mapping[type, object]) -> None:
        self._participant = participant
        self._resources = resources
        self._controls = {f"{name}.{participant.name}" for name in CONTROL}
        self._routes: dict[str, tuple[type[BaseModel], Reaction]] = {
            topic_of(trigger, participant.name): (trigger, reaction)
            for kind in participant.kinds
            for trigger, reaction in kind.reactions.items()
        }
        for reaction in participant.reactions():
            spent = [] if reaction.spent is None else reaction.spent.resources()
            for wanted in (*reaction.resources(), *spent):
                if wanted not in resources:
                    raise DeclarationError(
                        f"{reaction.where} asks for {wanted.__name__}, which it was not given; "
                        f"pass it in `resources`"
                    )

    def job(self, delivery: Delivery) -> Job | None:
        """What to do for a delivery; what cannot be understood carries its fault.

        ``None``: it concerns nobody here, ack it.
        """
        message = delivery.message
        if message is None:
            job: Job | None = self._stray(_undecodable(delivery), Undecodable(delivery.fault))
        elif self._participant.catch_all is not None and message.topic not in self._controls:
            job = self._heard(message, self._participant.catch_all)
        else:
            job = self.job_for(message)
        if job is not None:
            job.delivery = delivery
            if message is not None and delivery.fault:
                job.fault = Permanent(delivery.fault)
        return job

    def _heard(self, message: Message, reaction: Reaction) -> Job | None:
        route = self._participant.route(message)
        return None if route is None else Job(*route, message, reaction)

    def job_for(self, message: Message) -> Job:
        """What to do for a message, delivered now or stored earlier."""
        if message.topic in self._controls:
            return self._control(message)
        if self._participant.catch_all is not None:
            heard = self._heard(message, self._participant.catch_all)
            return heard or self._stray(message, Permanent("it concerns nobody any more"))
        if message.type.startswith(TIMER):
            return self._stray(message, Permanent(f"unknown timer {message.type}"))
        route = self._routes.get(message.topic)
        if route is None:
            fault = UnknownEvent(f"{self._participant.name} does not know events of this type")
            return self._faulty(message, fault)
        trigger, reaction = route
        try:
            event = parse_event(message, trigger)
            kind = reaction.kind
            key = message.saga_id if kind.key is None else kind.key(event)
            if not key:
                raise Permanent(f"{message.type} carries no saga id (correlationid)")
        except Permanent as fault:
            job = self._faulty(message, fault)
            if reaction.kind.by_saga:
                job.reaction = reaction
            return job
        return Job(kind, key, message, reaction, event)

    def _control(self, message: Message) -> Job:
        event = parse_event(message, CONTROL[message.type])
        assert isinstance(event, ReplayRequested | DiscardRequested)
        kinds = {kind.name: kind for kind in self._participant.kinds}
        kind = kinds.get(event.collection, self._participant.strays)
        return Job(kind, event.key, message, None, event)

    def _faulty(self, message: Message, fault: Permanent) -> Job:
        saga = self._participant.saga
        if message.saga_id and saga.by_saga:
            return Job(saga, message.saga_id, message, fault=fault)
        return self._stray(message, fault)

    def _stray(self, message: Message, fault: Permanent) -> Job:
        # A message of no saga has a document of its own, so its dead letter holds up nothing.
        return Job(self._participant.strays, message.id, message, fault=fault)

    def arguments(
        self, reaction: Reaction, job: Job, aggregate: Aggregate, now: float
    ) -> list[Any]:
        """The arguments of a reaction's function, in the order of its parameters."""
        message = job.message
        if reaction.needs_state and aggregate.state is None:
            raise NotYet(
                f"there is no {reaction.kind.name}/{aggregate.key} for {message.type}; "
                f"if it comes later, replay"
            )
        arguments: list[Any] = []
        for _, how in reaction.parameters:
            if how == "state":
                arguments.append(aggregate.state)
            elif how == "event":
                arguments.append(job.event if job.inverse is None else job.inverse)
            elif how == "context":
                saga_id = message.saga_id
                arguments.append(
                    Context(aggregate.key, saga_id, now, job.attempt, message, aggregate.steps)
                )
            elif how == "message":
                arguments.append(message)
            else:
                arguments.append(self._resources[how])
        return arguments


def _undecodable(delivery: Delivery) -> Message:
    digest = hashlib.sha256(delivery.raw).hexdigest()
    text = delivery.raw[:65_536].decode("utf-8", "replace")
    return Message(
        id=f"stray-{digest[:32]}",
        type="undecodable",
        source="/unknown",
        subject="",
        saga_id=None,
        time=0.0,
        data=orjson.dumps(text),
    )
