"""Small declarations for the stories: a desk, a hotel and an airline, told in a line each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Never, Union

from pydantic import BaseModel

from sagas import Choreography, Command, Decision, Event, Participant, Step

Trigger = type[BaseModel]


class Note(BaseModel):
    text: str = ""


class World:
    """What lies behind a participant's port."""


class Start(Command):
    origin: ClassVar[str] = "POST /trips"


class AskToCancel(Command):
    origin: ClassVar[str] = "POST /trips/{id}/cancel"


class TripStarted(Event): ...


class TripCancelled(Event): ...


class CancelAsked(Event): ...


class RoomBooked(Event): ...


class RoomRefused(Event): ...


class RoomFreed(Event): ...


class FlightBooked(Event): ...


class FlightRefused(Event): ...


class FlightCancelled(Event): ...


class TooLate(Event): ...


class TowerReport(Event):
    private: ClassVar[bool] = True
    origin: ClassVar[str] = "tower"


class Departed(Event): ...


class Extra(Event):
    """Whatever a story needs beside the journey."""


class Further(Event): ...


@dataclass
class Story:
    choreography: Choreography
    options: dict[str, Any] = field(default_factory=dict)


def _function(name: str, says: Iterable[Trigger], *, effect: bool, state: Any) -> Any:
    async def reaching_out(event, note, world): ...

    def deciding(event, note): ...

    function: Any = reaching_out if effect else deciding
    # Made of what the story says, so that no checker can read it.
    said: Any = Union[tuple(says)] if says else Never  # noqa: UP007
    hints = {"event": BaseModel, "note": state, "return": Decision[Note, said]}
    function.__name__ = name
    function.__annotations__ = {**hints, "world": World} if effect else hints
    return function


def step(
    who: Participant[Any],
    name: str,
    *,
    on: Trigger | Sequence[Trigger],
    emits: Sequence[Trigger] = (),
    refuses: Sequence[Trigger] = (),
    returns: Sequence[Trigger] | None = None,
    effect: bool = True,
    **more: Any,
) -> Step[Any]:
    """Declare a step; ``effect``: it reaches outside."""
    says = (*emits, *refuses) if returns is None else returns
    function = _function(name, says, effect=effect, state=Note | None)
    return who.step(on=on, emits=emits, refuses=refuses, **more)(function)


def undo(
    of: Step[Any],
    name: str,
    *,
    on: Trigger | Sequence[Trigger],
    emits: Sequence[Trigger] = (),
    refuses: Sequence[Trigger] = (),
) -> None:
    """Declare the undo of a step."""
    function = _function(name, (*emits, *refuses), effect=True, state=Note | None)
    of.undone(on=on, emits=emits, refuses=refuses)(function)


def follow(
    who: Participant[Any],
    name: str,
    *on: Trigger,
    emits: Sequence[Trigger] = (),
    needs_note: bool = False,
) -> None:
    """Declare a follower."""
    state = Note if needs_note else Note | None
    who.follows(*on, emits=emits)(_function(name, emits, effect=False, state=state))


def command(who: Participant[Any], name: str, on: Trigger, *emits: Trigger) -> None:
    """Declare a command."""
    who.command(on, emits=emits)(_function(name, emits, effect=False, state=Note | None))


# ------------------------------------------------------------------------------------ the journey


def desk(*, undone_on: Sequence[Trigger] = (RoomRefused, RoomFreed)) -> Participant[Any]:
    """Starts the trip, and cancels it when the room is free again."""
    who = Participant("desk", state=Note)
    start = step(who, "start_trip", on=Start, emits=[TripStarted], effect=False)
    undo(start, "cancel_trip", on=undone_on, emits=[TripCancelled])
    return who


def asking_desk() -> Participant[Any]:
    """A desk where people may ask to cancel."""
    who = desk()
    command(who, "ask_to_cancel", AskToCancel, CancelAsked)
    return who


def hotel(*, undone_on: Sequence[Trigger] = (FlightRefused,), **more: Any) -> Participant[Any]:
    """Books a room, and frees it when there is no flight."""
    who = Participant("hotel", state=Note)
    terms: dict[str, Any] = {"on": TripStarted, "emits": [RoomBooked], "refuses": [RoomRefused]}
    book = step(who, "book_room", **{**terms, **more})
    if undone_on:
        undo(book, "free_room", on=undone_on, emits=[RoomFreed])
    return who


def airline(**more: Any) -> Participant[Any]:
    """Books the flight, from which there is no way back."""
    who = Participant("airline", state=Note)
    terms: dict[str, Any] = {"on": RoomBooked, "emits": [FlightBooked], "refuses": [FlightRefused]}
    step(who, "book_flight", **{"pivot": True, **terms, **more})
    return who


def late_airline(
    *, asked: bool = True, refuses: Sequence[Trigger] = (TooLate,)
) -> Participant[Any]:
    """Books the flight, and can cancel it until the tower reports that it has left."""
    who = Participant("airline", state=Note)
    book = step(who, "book_flight", on=RoomBooked, emits=[FlightBooked], refuses=[FlightRefused])
    if asked:
        undo(book, "cancel_flight", on=CancelAsked, emits=[FlightCancelled], refuses=refuses)
    step(who, "depart", on=TowerReport, emits=[Departed], pivot=True, effect=False)
    return who


def journey(
    *participants: Participant[Any],
    completed_by: Sequence[Trigger] = (FlightBooked,),
    options: dict[str, Any] | None = None,
) -> Story:
    """A choreography of these participants."""
    choreography = Choreography(
        "journey", participants, completed_by=completed_by, compensated_by=[TripCancelled]
    )
    return Story(choreography, options or {})


def cancellable(*, at_once: bool = False, **options: Any) -> Story:
    """A journey that people may cancel; the airline is asked first, or everybody at once."""
    asked: Trigger = CancelAsked if at_once else FlightCancelled
    people = asking_desk()
    follow(people, "note_answers", FlightBooked, TooLate, *((FlightCancelled,) if at_once else ()))
    return journey(
        people,
        hotel(undone_on=[FlightRefused, asked]),
        late_airline(),
        completed_by=[Departed],
        options=options,
    )
