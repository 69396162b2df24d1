"""Broken choreographies, one small story per rule, each with its mended twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel

from sagas import Decision, Event, Participant, RetryPolicy
from sagas.check import Never
from tests.check.town import (
    AskToCancel,
    CancelAsked,
    Departed,
    Extra,
    FlightBooked,
    FlightCancelled,
    FlightRefused,
    Further,
    Note,
    RoomBooked,
    RoomFreed,
    RoomRefused,
    Start,
    Story,
    TooLate,
    TripCancelled,
    TripStarted,
    airline,
    asking_desk,
    cancellable,
    command,
    desk,
    follow,
    hotel,
    journey,
    late_airline,
    step,
    undo,
)

__all__ = ["STORIES", "Broken", "Story", "cancellable"]


@dataclass(frozen=True)
class Broken:
    code: str
    subject: str
    make: Callable[[bool], Story]

    def __str__(self) -> str:
        return f"{self.code}-{self.make.__name__}"


STORIES: list[Broken] = []


def story(code: str, subject: str) -> Callable[[Callable[[bool], Story]], None]:
    """What is found when the story is told unmended, and about what."""

    def add(make: Callable[[bool], Story]) -> None:
        STORIES.append(Broken(code, subject, make))

    return add


def someone(name: str = "agent") -> Participant[Any]:
    return Participant(name, state=Note)


# ----------------------------------------------------------------------- who says, and who hears


@story("SAGA101", "hotel.book_room")
def the_hotel_listens_for_a_word_nobody_says(mended: bool) -> Story:
    return journey(desk(), hotel(on=TripStarted if mended else Extra), airline())


@story("SAGA102", "hotel.book_room")
def breakfast_is_ordered_and_no_kitchen_hears(mended: bool) -> Story:
    kitchen = someone("kitchen")
    follow(kitchen, "cook", *([Extra] if mended else []), TripCancelled)
    both = [RoomBooked, Extra]
    # Which of the two leaves is for the hotel to say: the airline takes either.
    return journey(desk(), hotel(emits=both), airline(on=both if mended else RoomBooked), kitchen)


@story("SAGA103", "hotel.book_room")
def an_upgrade_is_promised_that_no_line_returns(mended: bool) -> Story:
    people = desk()
    follow(people, "enjoy", Extra)
    promised = (
        {} if mended else {"emits": [RoomBooked, Extra], "returns": [RoomBooked, RoomRefused]}
    )
    return journey(desk() if mended else people, hotel(**promised), airline())


@story("SAGA104", "Departed")
def the_end_is_an_event_that_nobody_emits(mended: bool) -> Story:
    return journey(
        desk(), hotel(), airline(), completed_by=[FlightBooked] if mended else [Departed]
    )


@story("SAGA105", "agent.print_ticket")
def ticket_and_payment_wait_for_each_other(mended: bool) -> Story:
    agent = someone()
    step(agent, "print_ticket", on=FlightBooked if mended else Further, emits=[Extra])
    step(agent, "pay_ticket", on=Extra, emits=[Further])
    return journey(desk(), hotel(), airline(), agent, completed_by=[Further])


# ------------------------------------------------------------------------------- compensation


@story("SAGA201", "hotel.book_room")
def no_flight_and_the_room_stays_booked(mended: bool) -> Story:
    if mended:
        return journey(desk(), hotel(), airline())
    return journey(desk(undone_on=[RoomRefused, FlightRefused]), hotel(undone_on=()), airline())


@story("SAGA201", "hotel.book_room")
def a_room_that_may_be_kept_has_to_say_so(mended: bool) -> Story:
    kept = {"kept_on": [FlightRefused]} if mended else {}
    return journey(
        desk(undone_on=[RoomRefused, FlightRefused]), hotel(undone_on=(), **kept), airline()
    )


@story("SAGA202", "hotel.book_room")
def the_room_is_freed_only_if_somebody_asks(mended: bool) -> Story:
    if mended:
        return journey(desk(), hotel(), airline())
    return journey(asking_desk(), hotel(undone_on=[CancelAsked]), airline())


@story("SAGA202", "hotel.book_room")
def the_hotel_may_refuse_to_free_the_room(mended: bool) -> Story:
    if mended:
        return journey(desk(), hotel(), airline())
    people, inn = desk(), hotel(undone_on=())
    follow(people, "sigh", TooLate)
    undo(
        inn.steps["book_room"], "free_room", on=FlightRefused, emits=[RoomFreed], refuses=[TooLate]
    )
    return journey(people, inn, airline())


@story("SAGA203", "hotel.book_room")
def a_full_hotel_ends_nothing(mended: bool) -> Story:
    people = someone("desk")
    kept = [RoomRefused, RoomFreed]
    step(people, "start_trip", on=Start, emits=[TripStarted], effect=False, kept_on=kept)
    follow(
        people, "call_it_off", *([RoomRefused] if mended else []), RoomFreed, emits=[TripCancelled]
    )
    return journey(people, hotel(), airline())


@story("SAGA204", "airline.book_flight")
def on_the_waiting_list_for_ever(mended: bool) -> Story:
    people = desk()
    follow(people, "wait", Extra)
    ends = [FlightBooked, Extra] if mended else [FlightBooked]
    return journey(people, hotel(), airline(emits=[FlightBooked, Extra]), completed_by=ends)


# ------------------------------------------------------------------------------------ the pivot


@story("SAGA205", "airline.book_flight")
def two_points_of_no_return(mended: bool) -> Story:
    told = journey(desk(), hotel(), airline())
    told.choreography.steps[1].pivot = not mended
    return told


@story("SAGA206", "agent.tear_up_ticket")
def a_ticket_is_torn_up_after_take_off(mended: bool) -> Story:
    agent = someone()
    printing = step(agent, "print_ticket", on=FlightBooked, emits=[Extra])
    if not mended:
        undo(printing, "tear_up_ticket", on=TripCancelled)
    return journey(desk(), hotel(), airline(), agent, completed_by=[Extra])


@story("SAGA207", "agent.stop_printing")
def the_printer_gives_up_after_take_off(mended: bool) -> Story:
    agent = someone()
    printing = step(agent, "print_ticket", on=FlightBooked, emits=[Extra])
    if not mended:

        @printing.spent(refuses=[Further])
        def stop_printing(note: Note | None) -> Decision[Note, Further]:
            raise NotImplementedError

    return journey(desk(), hotel(), airline(), agent, completed_by=[Extra])


@story("SAGA208", "hotel.book_room")
def the_plane_leaves_while_the_hotel_is_still_thinking(mended: bool) -> Story:
    return journey(desk(), hotel(), airline(on=RoomBooked if mended else TripStarted))


# ---------------------------------------------------------------------------------------- races


@story("SAGA301", "desk.start_trip")
def everybody_is_asked_to_cancel_at_once(mended: bool) -> Story:
    return cancellable(at_once=not mended)


@story("SAGA302", "hotel.book_room")
def the_room_is_given_away_and_the_plane_leaves(mended: bool) -> Story:
    if mended:
        return cancellable()
    people = desk(undone_on=[RoomRefused, FlightRefused])
    command(people, "ask_to_cancel", AskToCancel, CancelAsked)
    undone = hotel(undone_on=[FlightRefused, CancelAsked])
    return journey(people, undone, late_airline(asked=False), completed_by=[Departed])


@story("SAGA303", "airline.book_flight")
def a_cancellation_overtakes_the_booking(mended: bool) -> Story:
    return cancellable(tombstones=mended)


@story("SAGA304", "airline.depart")
def nobody_flies_who_has_no_room_any_more(mended: bool) -> Story:
    rule = Never("depart", after="free_room", why="nobody sleeps in the street")
    return cancellable(at_once=not mended, rules=[rule])


@story("SAGA304", "hotel.free_room")
def the_room_is_never_freed_before_the_flight(mended: bool) -> Story:
    rule = Never("free_room", before="cancel_flight", unless=FlightRefused)
    return cancellable(at_once=not mended, rules=[rule])


@story("SAGA305", "airline.cancel_flight")
def a_flight_is_cancelled_that_has_left(mended: bool) -> Story:
    people = asking_desk()
    follow(people, "note_answers", FlightBooked, *([TooLate] if mended else []))
    return journey(
        people,
        hotel(undone_on=[FlightRefused, FlightCancelled]),
        late_airline(refuses=[TooLate] if mended else ()),
        completed_by=[Departed],
    )


def boarding(*, asks: bool, refuses: bool) -> Story:
    """The gate is the airline's own: it closes once people have boarded."""
    people, agent = asking_desk(), someone()
    follow(people, "note_answers", TooLate)
    follow(agent, "board", FlightBooked, emits=[Extra])
    plane = Participant("airline", state=Note)
    book = step(plane, "book_flight", on=RoomBooked, emits=[FlightBooked], refuses=[FlightRefused])
    asked = [CancelAsked, *([Further] if refuses else [])]
    undo(book, "cancel_flight", on=asked, emits=[FlightCancelled], refuses=[TooLate])
    refusals = {"refuses": [Further]} if refuses else {}
    step(plane, "close_gate", on=Extra, emits=[Departed], pivot=True, effect=asks, **refusals)
    inn = hotel(undone_on=[FlightRefused, FlightCancelled])
    return journey(people, inn, plane, agent, completed_by=[Departed])


@story("SAGA305", "airline.cancel_flight")
def nothing_stops_a_gate_that_never_refuses(mended: bool) -> Story:
    return boarding(asks=True, refuses=mended)


@story("SAGA305", "airline.cancel_flight")
def the_gate_closes_on_a_seat_just_given_back(mended: bool) -> Story:
    """Until that is written, only those outside know; a gate that does not ask them looks away."""
    return boarding(asks=mended, refuses=True)


@story("SAGA306", "hotel.write_a_letter")
def a_letter_to_a_guest_who_never_was(mended: bool) -> Story:
    told = cancellable()
    inn = told.choreography.participants[1]
    follow(inn, "write_a_letter", TripCancelled, needs_note=not mended)
    return told


# ------------------------------------------------------------------------------ time and bounds


@story("SAGA401", "desk.ask_again")
def question_and_answer_for_ever(mended: bool) -> Story:
    people, agent = desk(), someone()
    follow(people, "ask_again", Extra, emits=[] if mended else [Further])
    follow(agent, "answer", RoomBooked if mended else Further, emits=[Extra])
    return journey(people, hotel(), airline(), agent)


@story("SAGA402", "airline.book_flight")
def a_patient_airline_and_an_impatient_saga(mended: bool) -> Story:
    patient = RetryPolicy(attempts=20, first_s=1.0)
    options = {"deadline_s": 7_200.0 if mended else 60.0}
    return journey(desk(), hotel(), airline(retry=patient), options=options)


# --------------------------------------------------------------------------------------- schema


@story("SAGA501", "agent.read_the_news")
def the_agent_reads_a_newer_version(mended: bool) -> Story:
    class Newer(Event, version=2):
        event_type: ClassVar[str] = "FlightBooked"

    if mended:
        Newer.upcasters = {1: lambda data: data}
    agent = someone()
    follow(agent, "read_the_news", Newer)
    return journey(desk(), hotel(), airline(), agent)


@story("SAGA501", "agent.read_the_news")
def the_agent_still_reads_the_old_version(mended: bool) -> Story:
    class Now(Event, version=2):
        event_type: ClassVar[str] = "Landed"
        upcasters: ClassVar[Any] = {1: lambda data: data}

    class Then(Event):
        event_type: ClassVar[str] = "Landed"

    agent = someone()
    follow(agent, "read_the_news", Now if mended else Then)
    return journey(desk(), hotel(), airline(emits=[Now]), agent, completed_by=[Now])


@story("SAGA502", "agent.read_the_gate")
def the_agent_reads_a_gate_that_is_never_sent(mended: bool) -> Story:
    class WithGate(Event):
        event_type: ClassVar[str] = "FlightBooked"
        gate: str

    class MaybeGate(Event):
        event_type: ClassVar[str] = "FlightBooked"
        gate: str | None = None

    agent = someone()
    follow(agent, "read_the_gate", MaybeGate if mended else WithGate)
    return journey(desk(), hotel(), airline(), agent)


@story("SAGA502", "agent.read_the_seat")
def a_seat_is_sent_as_text_and_read_as_a_number(mended: bool) -> Story:
    class Seat(BaseModel):
        row: str

    class Numbered(BaseModel):
        row: str if mended else int  # type: ignore[valid-type]

    class WithSeats(Event):
        event_type: ClassVar[str] = "FlightBooked"
        seats: tuple[Seat, ...]

    class WithNumbers(Event):
        event_type: ClassVar[str] = "FlightBooked"
        seats: tuple[Numbered, ...]

    agent = someone()
    follow(agent, "read_the_seat", WithNumbers)
    plane = airline(emits=[WithSeats])
    return journey(desk(), hotel(), plane, agent, completed_by=[WithSeats])
