"""Histories told by hand: events as a participant would send them, in any order one likes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel

from sagas.envelope import Message, event_type
from sagas.events import CancelRequested
from sagas.tracker import Plan, SagaView, fold, saga_resource
from tests.tracker import toy

SAGA = "saga-1"
START = 1_767_225_600.0

EMITTERS = {
    toy.Ordered: "counter",
    toy.OrderVoided: "counter",
    toy.StopAsked: "counter",
    toy.Baked: "kitchen",
    toy.BakeFailed: "kitchen",
    toy.Binned: "kitchen",
    CancelRequested: "tracker",
}


#: What a command makes them say: no event caused it.
COMMANDED = (toy.Ordered, toy.Carried, toy.HandedOver, toy.Dropped, CancelRequested)


class History:
    """Each event comes a second after the one before, and is caused by it unless said otherwise,
    or unless a command is what causes it."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def tell(
        self,
        *events: BaseModel,
        cause: Message | None = None,
        by: str | None = None,
        attempt: int = 1,
        to: str | None = None,
    ) -> Message:
        """Add events; the last one's message, to name it as a cause."""
        for event in events:
            number = len(self.messages) + 1
            before = cause
            if cause is None and self.messages and not isinstance(event, COMMANDED):
                before = self.messages[-1]
            self.messages.append(
                Message(
                    id=f"event-{number}",
                    type=event_type(type(event)),
                    source=f"/{by or EMITTERS.get(type(event), 'courier')}",
                    subject=SAGA,
                    saga_id=SAGA,
                    sequence=number,
                    time=START + number,
                    causation_id="a command" if before is None else before.id,
                    attempt=attempt,
                    to=to,
                    data=event.model_dump_json().encode(),
                )
            )
        return self.messages[-1]


def asked_to_stop(history: History) -> Message:
    """An operator wants the saga stopped; the wish as the counter passes it on."""
    history.tell(CancelRequested(by="eve", reason="fraud"))
    return history.tell(toy.StopAsked())


def ordered(**fields: Any) -> toy.Ordered:
    known: dict[str, Any] = {
        "guest": "ada",
        "card": "4000-1234",
        "parcel": "small",
        "place": toy.Place(street="1 Main St", floor=3),
    }
    return toy.Ordered(**{**known, **fields})


def folded(messages: Iterable[Message], plan: Plan, now: float = START) -> SagaView:
    view: SagaView | None = None
    for message in messages:
        view = fold(view, message, plan, now)
    assert view is not None
    return view


def shown(messages: Sequence[Message], plan: Plan, now: float = START) -> dict[str, Any]:
    """The resource that these events come to."""
    view = folded(messages, plan, now)
    return saga_resource(SAGA, view, plan, staff=True, events=True)


def statuses(saga: dict[str, Any]) -> dict[str, str]:
    return {step["name"]: step["status"] for step in saga["steps"]}
