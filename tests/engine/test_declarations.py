"""A wrong declaration fails when it is made, and says where and what."""

from __future__ import annotations

from typing import Never

import pytest
from pydantic import BaseModel

from sagas import Choreography, Decision, DeclarationError, Participant
from sagas.testing.harness import Harness
from tests.engine.toy import (
    FlightBooked,
    RoomBooked,
    RoomFreed,
    RoomRefused,
    Toy,
    Trip,
    TripCancelled,
    TripStarted,
)


class Ledger:
    pass


class Other(BaseModel):
    pass


@pytest.fixture
def hotel() -> Participant[Trip]:
    return Participant("hotel", state=Trip)


def _says(error: pytest.ExceptionInfo[DeclarationError], *words: str) -> None:
    text = str(error.value)
    assert "test_declarations.py:" in text, "it names the file and line"
    for word in words:
        assert word in text, text


def test_an_event_emitted_that_was_not_declared(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event: TripStarted) -> Decision[Trip, RoomBooked | RoomRefused]: ...

    _says(error, "'hotel'", "'book_room'", "RoomRefused", "emits")


def test_two_steps_on_one_trigger_in_one_participant(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked])
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=TripStarted, emits=[RoomFreed])
        def book_another(event: TripStarted) -> Decision[Trip, RoomFreed]: ...

    _says(error, "'hotel'", "'book_another'", "TripStarted", "'book_room'")


def test_a_step_of_documents_that_many_sagas_share() -> None:
    """The second saga's step would count as done, and its undo would undo the first one's."""
    rooms = Participant("rooms", state=Trip, key=lambda event: str(event.room))

    with pytest.raises(DeclarationError) as error:

        @rooms.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    _says(error, "'rooms'", "'book_room'", "`key` of their own", "`aggregate`")


def test_an_undo_of_nothing(hotel: Participant[Trip]) -> None:
    @hotel.follows(TripStarted)
    def note(event: TripStarted) -> Decision[Trip, Never]: ...

    assert not hasattr(note, "undone"), "only a step has an undo to declare"


def test_an_undo_without_a_trigger(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked])
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    with pytest.raises(DeclarationError) as error:

        @book_room.undone(on=[], emits=[RoomFreed])
        def free_room(trip: Trip | None) -> Decision[Trip | None, RoomFreed]: ...

    _says(error, "'free_room'", "triggered by nothing")


def test_an_undo_that_insists_on_its_step(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked])
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    with pytest.raises(DeclarationError) as error:

        @book_room.undone(on=TripCancelled, emits=[RoomFreed])
        def free_room(trip: Trip) -> Decision[Trip, RoomFreed]: ...

    _says(error, "'free_room'", "State | None")


def test_a_second_undo(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked])
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    @book_room.undone(on=TripCancelled, emits=[RoomFreed])
    def free_room(trip: Trip | None) -> Decision[Trip | None, RoomFreed]: ...

    with pytest.raises(DeclarationError) as error:

        @book_room.undone(on=RoomRefused, emits=[RoomFreed])
        def free_again(trip: Trip | None) -> Decision[Trip | None, RoomFreed]: ...

    _says(error, "'free_again'", "has an undo already")


def test_an_undo_of_the_pivot(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked], pivot=True)
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    with pytest.raises(DeclarationError) as error:

        @book_room.undone(on=TripCancelled, emits=[RoomFreed])
        def free_room(trip: Trip | None) -> Decision[Trip | None, RoomFreed]: ...

    _says(error, "pivot")


def test_a_parameter_that_does_not_take_every_trigger(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=[TripStarted, FlightBooked], emits=[RoomBooked])
        def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    _says(error, "FlightBooked")


def test_a_parameter_of_a_foreign_model(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event: Other) -> Decision[Trip, RoomBooked]: ...

    _says(error, "Other", "neither its trigger nor the state")


def test_a_parameter_without_a_type(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event) -> Decision[Trip, RoomBooked]: ...  # type: ignore[no-untyped-def]

    _says(error, "'event'", "annotation")


def test_a_return_type_that_tells_nothing(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError) as error:

        @hotel.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event: TripStarted) -> object: ...

    _says(error, "Decision[State")


def test_a_timer_declared_twice(hotel: Participant[Trip]) -> None:
    @hotel.timer("late")
    def late(trip: Trip) -> Decision[Trip, Never]: ...

    with pytest.raises(DeclarationError) as error:

        @hotel.timer("late")
        def later(trip: Trip) -> Decision[Trip, Never]: ...

    _says(error, "'late'")


def test_two_participants_of_one_name(hotel: Participant[Trip]) -> None:
    with pytest.raises(DeclarationError, match="two participants 'hotel'"):
        Choreography(
            "trip", [hotel, Participant("hotel", state=Trip)], completed_by=[], compensated_by=[]
        )


def test_two_steps_of_one_name_in_a_choreography(hotel: Participant[Trip]) -> None:
    inn = Participant("inn", state=Trip)
    for participant in (hotel, inn):

        @participant.step(on=TripStarted, emits=[RoomBooked])
        def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    with pytest.raises(DeclarationError, match="book_room"):
        Choreography("trip", [hotel, inn], completed_by=[], compensated_by=[])


def test_two_pivots(hotel: Participant[Trip]) -> None:
    inn = Participant("inn", state=Trip)

    @hotel.step(on=TripStarted, emits=[RoomBooked], pivot=True)
    def book_room(event: TripStarted) -> Decision[Trip, RoomBooked]: ...

    @inn.step(on=RoomBooked, emits=[FlightBooked], pivot=True)
    def book_inn(event: RoomBooked) -> Decision[Trip, FlightBooked]: ...

    with pytest.raises(DeclarationError, match="several pivots"):
        Choreography("trip", [hotel, inn], completed_by=[], compensated_by=[])


async def test_a_resource_that_nobody_gave(hotel: Participant[Trip]) -> None:
    @hotel.step(on=TripStarted, emits=[RoomBooked])
    async def book_room(event: TripStarted, ledger: Ledger) -> Decision[Trip, RoomBooked]: ...

    choreography = Choreography("trip", [hotel], completed_by=[], compensated_by=[])
    with pytest.raises(DeclarationError, match="Ledger") as error:
        async with Harness(choreography):
            pass
    assert "hotel.book_room" in str(error.value)


def test_good_declarations_say_nothing() -> None:
    assert [step.name for step in Toy().choreography.steps] == [
        "start_trip",
        "book_room",
        "book_flight",
    ]
