"""A small choreography whose reactions are not idempotent by themselves: only the engine is.

What the shop's domain would forgive (a repeated event, a repeated call) shows here as a wrong sum.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from typing import Never

from pydantic import BaseModel

from sagas import Choreography, Command, Context, Decision, Event, Participant, Runner
from sagas.simulate import Act, Script, Truth, World, invariant


class Trip(BaseModel):
    status: str
    heard: int = 0
    noted: int = 0
    reminded: int = 0


class Start(Command):
    room: str
    flight: str


class TripStarted(Event):
    room: str
    flight: str


class RoomBooked(Event):
    flight: str


class KeyCut(Event):
    pass


class RoomRefused(Event):
    pass


class RoomFreed(Event):
    pass


class FlightBooked(Event):
    pass


class SeatGiven(Event):
    pass


class FlightRefused(Event):
    pass


class TripCancelled(Event):
    pass


class Hotel:
    """Rooms by key. A key that was freed takes no room any more."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.freed: set[str] = set()

    async def book(self, key: str) -> None:
        if key not in self.freed:
            self.taken[key] = 1

    async def free(self, key: str) -> None:
        self.freed.add(key)
        self.taken[key] = 0


class Diary:
    """Somewhere to write to: an effect that needs no key."""

    async def note(self, key: str) -> None:
        pass


class Outside:
    """The hotel of the world that is being played: it outlives every process."""

    hotel = Hotel()


trip = Participant("trip", state=Trip)
trips = trip.saga


@trip.step(on=Start, emits=[TripStarted])
def start_trip(command: Start) -> Decision[Trip, TripStarted]:
    started = TripStarted(room=command.room, flight=command.flight)
    return Decision(Trip(status="started"), started, timers={"remind": 1.5})


@start_trip.undone(on=[RoomRefused, RoomFreed], emits=[TripCancelled])
def cancel_trip(trip: Trip | None) -> Decision[Trip | None, TripCancelled]:
    ended = None if trip is None else trip.model_copy(update={"status": "cancelled"})
    return Decision(ended, TripCancelled())


@trip.follows(RoomBooked, FlightBooked)
def heard(trip: Trip) -> Decision[Trip, Never]:
    return Decision(trip.model_copy(update={"heard": trip.heard + 1}))


@trip.follows(KeyCut, SeatGiven)
async def noted(trip: Trip, diary: Diary, runner: Runner, ctx: Context) -> Decision[Trip, Never]:
    """An effect that also reads the store, and decides on what the document was when it began."""
    await runner.get(trips, ctx.key)
    await diary.note(ctx.key)
    return Decision(trip.model_copy(update={"noted": trip.noted + 1}))


@trip.timer("remind")
def remind(trip: Trip) -> Decision[Trip, Never]:
    return Decision(trip.model_copy(update={"reminded": trip.reminded + 1}))


hotel = Participant("hotel", state=Trip)


@hotel.step(on=TripStarted, emits=[RoomBooked, KeyCut], refuses=[RoomRefused])
async def book_room(
    event: TripStarted, hotel: Hotel, ctx: Context
) -> Decision[Trip, RoomBooked | KeyCut | RoomRefused]:
    if event.room == "full":
        return Decision(Trip(status="full"), RoomRefused())
    await hotel.book(ctx.key)
    return Decision(Trip(status="booked"), KeyCut(), RoomBooked(flight=event.flight))


@book_room.undone(on=FlightRefused, emits=[RoomFreed])
async def free_room(
    trip: Trip | None, hotel: Hotel, ctx: Context
) -> Decision[Trip | None, RoomFreed]:
    await hotel.free(ctx.key)
    return Decision(None if trip is None else Trip(status="freed"), RoomFreed())


airline = Participant("airline", state=Trip)


@airline.step(on=RoomBooked, emits=[FlightBooked, SeatGiven], refuses=[FlightRefused], pivot=True)
def book_flight(event: RoomBooked) -> Decision[Trip, FlightBooked | SeatGiven | FlightRefused]:
    if event.flight == "full":
        return Decision(Trip(status="full"), FlightRefused())
    return Decision(Trip(status="booked"), FlightBooked(), SeatGiven())


def draw(chance: random.Random, saga_id: str) -> Script:
    room = chance.choice(("ok", "ok", "ok", "full"))
    flight = chance.choice(("ok", "ok", "full"))
    start = Start(room=room, flight=flight)
    moment = chance.choice((0.0, 0.0, chance.random() * 0.5))
    return Script(saga_id, (Act(moment, "trip", saga_id, start),))


def resources() -> dict:
    Outside.hotel = Hotel()
    return {
        "hotel": lambda runner: {Hotel: Outside.hotel},
        "trip": lambda runner: {Diary: Diary()},
    }


@invariant
def every_event_is_heard_once(truth: Truth) -> Iterator[str]:
    for key, state in truth.states("trip").items():
        types = [message.type for message in truth.events(key)]
        sent = types.count("RoomBooked") + types.count("FlightBooked")
        keys = types.count("KeyCut") + types.count("SeatGiven")
        if (state.heard, state.noted) != (sent, keys):
            yield f"trip {key} heard {state.heard} of {sent} events, noted {state.noted} of {keys}"


@invariant
def every_trip_is_reminded(truth: Truth) -> Iterator[str]:
    for key, state in truth.states("trip").items():
        if not state.reminded:
            yield f"trip {key} was never reminded"


@invariant
def every_trip_is_reminded_once(truth: Truth) -> Iterator[str]:
    for key, state in truth.states("trip").items():
        if state.reminded > 1:
            yield f"trip {key} was reminded {state.reminded} times"


@invariant
def rooms_add_up(truth: Truth) -> Iterator[str]:
    for key in truth.saga_ids:
        wanted = int(truth.completed(key))
        if Outside.hotel.taken[key] != wanted:
            yield f"trip {key} has {Outside.hotel.taken[key]} rooms instead of {wanted}"


choreography = Choreography(
    "counting",
    [trip, hotel, airline],
    completed_by=[FlightBooked],
    compensated_by=[TripCancelled],
)

world = World(
    choreography=choreography,
    draw=draw,
    resources=resources,
    invariants=[
        every_event_is_heard_once,
        every_trip_is_reminded,
        every_trip_is_reminded_once,
        rooms_add_up,
    ],
)
