"""A small choreography for the engine's own tests: book a room, then a flight, then done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Never

from pydantic import BaseModel

from sagas import (
    Choreography,
    Command,
    Context,
    Decision,
    Event,
    Participant,
    Permanent,
    Retryable,
    RetryPolicy,
)
from sagas.runner import Runner


class Trip(BaseModel):
    status: str


class Start(Command):
    flight: str = "ok"
    room: str = "ok"


class TripStarted(Event):
    flight: str
    room: str


class RoomBooked(Event):
    flight: str


class RoomRefused(Event):
    code: str = "full"
    detail: str = "No room."


class RoomFreed(Event):
    pass


class FlightBooked(Event):
    pass


class FlightRefused(Event):
    code: str = "sold_out"
    detail: str = "No seat."


class TripCancelled(Event):
    pass


class CancelAsked(Event):
    pass


class Outside:
    """What lies behind the participants' ports: counts calls, fails as told, keeps its word.

    A key that was undone never takes effect again.
    """

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.undone: set[str] = set()
        self.script: Callable[[str], Any] = lambda call: None

    async def do(self, key: str) -> None:
        self.calls[key] += 1
        wait = self.script(key)
        if wait is not None:
            await wait
        if key not in self.undone and not self.done[key]:
            self.done[key] = 1

    async def undo(self, key: str) -> None:
        self.calls["undo " + key] += 1
        wait = self.script("undo " + key)
        if wait is not None:
            await wait
        self.undone.add(key)
        self.done[key] = 0


class Toy:
    """Fresh declarations for each test: participants are plain objects."""

    def __init__(self, *, attempts: int = 4) -> None:
        self.outside = Outside()
        retry = RetryPolicy(attempts=attempts, first_s=0.5, cap_s=30.0, jitter=0.0)

        trip = Participant("trip", state=Trip)

        @trip.step(on=Start, emits=[TripStarted])
        def start_trip(command: Start) -> Decision[Trip, TripStarted]:
            return Decision(
                Trip(status="started"), TripStarted(flight=command.flight, room=command.room)
            )

        @start_trip.undone(on=[RoomRefused, RoomFreed], emits=[TripCancelled])
        def cancel_trip(trip: Trip | None) -> Decision[Trip, TripCancelled]:
            return Decision(Trip(status="cancelled"), TripCancelled())

        @trip.follows(FlightBooked)
        def trip_done(trip: Trip) -> Decision[Trip, Never]:
            return Decision(Trip(status="done"))

        hotel = Participant("hotel", state=Trip)

        @hotel.step(on=TripStarted, emits=[RoomBooked], refuses=[RoomRefused], retry=retry)
        async def book_room(
            event: TripStarted, outside: Outside, ctx: Context
        ) -> Decision[Trip, RoomBooked | RoomRefused]:
            if event.room == "poison":
                raise Permanent("this room can never be booked; choose another")
            if event.room == "full":
                return Decision(Trip(status="full"), RoomRefused())
            await outside.do(f"{ctx.key}/room")
            return Decision(Trip(status="booked"), RoomBooked(flight=event.flight))

        @book_room.undone(on=[FlightRefused, CancelAsked], emits=[RoomFreed], retry=retry)
        async def free_room(
            trip: Trip | None, outside: Outside, ctx: Context
        ) -> Decision[Trip | None, RoomFreed]:
            await outside.undo(f"{ctx.key}/room")
            return Decision(None if trip is None else Trip(status="freed"), RoomFreed())

        airline = Participant("airline", state=Trip)

        @airline.step(
            on=RoomBooked, emits=[FlightBooked], refuses=[FlightRefused], retry=retry, pivot=True
        )
        async def book_flight(
            event: RoomBooked, outside: Outside, ctx: Context
        ) -> Decision[Trip, FlightBooked | FlightRefused]:
            if event.flight == "sold out":
                return Decision(Trip(status="refused"), FlightRefused())
            await outside.do(f"{ctx.key}/flight")
            return Decision(Trip(status="booked"), FlightBooked())

        self.choreography = Choreography(
            "trip",
            [trip, hotel, airline],
            completed_by=[FlightBooked],
            compensated_by=[TripCancelled],
        )

    @property
    def resources(self) -> dict[str, Callable[[Runner], dict[type, object]]]:
        return {
            name: lambda runner: {Outside: self.outside} for name in ("hotel", "airline", "trip")
        }


def unavailable(times: int) -> Callable[[str], Any]:
    """A script: the outside fails ``times`` times for each call, then works."""
    failed: Counter[str] = Counter()

    async def fail(call: str) -> None:
        failed[call] += 1
        if failed[call] <= times:
            raise Retryable("the outside is down; it is tried again")

    return fail
