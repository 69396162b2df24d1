"""A toy choreography for the tracker's tests: bake a cake, pack it, carry it to a guest.

| step | participant | triggered by | success | refusal | undone on | undo emits |
|---|---|---|---|---|---|---|
| take_order | counter | TakeOrder | Ordered | – | BakeFailed, Binned, Dropped | OrderVoided |
| bake | kitchen | Ordered | Baked | BakeFailed | PackFailed, Unpacked; kept on Dropped | Binned |
| pack | courier | Baked | Packed | PackFailed | StopAsked | Unpacked, or StopRefused |
| carry (pivot) | courier | Carry | Carried | – | | |
| hand_over | courier | HandOver | HandedOver | Dropped | | |
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from sagas import Choreography, Command, Decision, Event, Participant, Permanent
from sagas.events import CancelRequested

Secret = Annotated[str, Field(json_schema_extra={"sensitive": True})]

BAKE_DEADLINE_S = 30.0
PACK_DEADLINE_S = 60.0


class Place(BaseModel):
    model_config = ConfigDict(frozen=True)

    street: Secret
    floor: int


class TakeOrder(Command):
    guest: str
    card: str = "4000-1234"
    parcel: str = "small"


class Carry(Command):
    pass


class HandOver(Command):
    ok: bool = True


class Ordered(Event):
    guest: str
    card: Secret
    parcel: str
    place: Place
    notes: dict[str, Secret] = Field(default_factory=dict)
    friends: tuple[Place, ...] = ()


class _Told(Event):
    code: str = "why"
    detail: str = "Because."


class OrderVoided(_Told):
    pass


class Baked(Event):
    parcel: str = "small"


class BakeFailed(_Told):
    pass


class Binned(_Told):
    pass


class Packed(Event):
    pass


class PackFailed(_Told):
    pass


class StopAsked(_Told):
    pass


class Unpacked(_Told):
    pass


class StopRefused(_Told):
    pass


class Carried(Event):
    pass


class HandedOver(Event):
    pass


class Dropped(_Told):
    pass


class Note(BaseModel):
    status: str


class Oven:
    """Outside the kitchen: ``fault`` says what is wrong with it."""

    fault: str | None = None


def bakery() -> Choreography:
    """Fresh declarations for each test: participants are plain objects."""
    return Choreography(
        "cake-to-table",
        [_counter(), _kitchen(), _courier()],
        completed_by=[HandedOver],
        compensated_by=[OrderVoided],
        owner="guest",
        operator="staff",
    )


def _counter() -> Participant[Note]:
    counter = Participant("counter", state=Note)

    @counter.step(on=TakeOrder, emits=[Ordered])
    def take_order(command: TakeOrder) -> Decision[Note, Ordered]:
        ordered = Ordered(
            guest=command.guest,
            card=command.card,
            parcel=command.parcel,
            place=Place(street="1 Main St", floor=3),
        )
        return Decision(Note(status="ordered"), ordered)

    @take_order.undone(on=[BakeFailed, Binned, Dropped], emits=[OrderVoided])
    def void_order(event: BakeFailed | Binned | Dropped) -> Decision[Note, OrderVoided]:
        return Decision(Note(status="void"), OrderVoided(code=event.code, detail=event.detail))

    @counter.follows(CancelRequested, emits=[StopAsked])
    def operator_stops(event: CancelRequested, note: Note) -> Decision[Note, StopAsked]:
        return Decision(note, StopAsked(code="stopped_by_staff", detail=event.reason))

    return counter


def _kitchen() -> Participant[Note]:
    kitchen = Participant("kitchen", state=Note)

    @kitchen.step(
        on=Ordered,
        emits=[Baked],
        refuses=[BakeFailed],
        kept_on=[Dropped],
        deadline_s=BAKE_DEADLINE_S,
    )
    def bake(event: Ordered, oven: Oven) -> Decision[Note, Baked | BakeFailed]:
        if oven.fault == "broken":
            raise Permanent(f"the oven is broken, card {event.card}: repair it, then replay")
        if oven.fault == "cold":
            return Decision(Note(status="raw"), BakeFailed(code="cold_oven", detail="It is cold."))
        return Decision(Note(status="baked"), Baked(parcel=event.parcel))

    @bake.undone(on=[PackFailed, Unpacked], emits=[Binned])
    def bin_cake(event: PackFailed | Unpacked, note: Note | None) -> Decision[Note | None, Binned]:
        return Decision(note, Binned(code=event.code, detail=event.detail))

    return kitchen


def _courier() -> Participant[Note]:
    courier = Participant("courier", state=Note)

    @courier.step(on=Baked, emits=[Packed], refuses=[PackFailed], deadline_s=PACK_DEADLINE_S)
    def pack(event: Baked) -> Decision[Note, Packed | PackFailed]:
        if event.parcel == "huge":
            refused = PackFailed(code="too_big", detail="It does not fit.")
            return Decision(Note(status="refused"), refused)
        return Decision(Note(status="packed"), Packed())

    @pack.undone(on=StopAsked, emits=[Unpacked], refuses=[StopRefused])
    def unpack(
        event: StopAsked, note: Note | None
    ) -> Decision[Note | None, Unpacked | StopRefused]:
        if note is not None and note.status == "carried":
            return Decision(note, StopRefused(code="too_late", detail="It has left."))
        return Decision(note, Unpacked(code=event.code, detail=event.detail))

    @courier.step(on=Carry, emits=[Carried], pivot=True)
    def carry(note: Note) -> Decision[Note, Carried]:
        return Decision(Note(status="carried"), Carried())

    @courier.step(on=HandOver, emits=[HandedOver], refuses=[Dropped])
    def hand_over(command: HandOver, note: Note) -> Decision[Note, HandedOver | Dropped]:
        if command.ok:
            return Decision(note, HandedOver())
        return Decision(note, Dropped(code="dropped", detail="It fell."))

    return courier
