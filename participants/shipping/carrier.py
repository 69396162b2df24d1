"""The carrier: a port, the built-in one that moves parcels by itself, and what carriers report.

Every call carries a key: a repeat finds the first result, and a parcel that was cancelled before it
was booked is never booked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Never, Protocol, cast

from pydantic import BaseModel, ConfigDict

from contracts.base import Event
from contracts.values import Address
from participants.shipping.domain import Shipment
from sagas import Command, CommandRefused, Context, Decision, Participant, Refusal, Runner

__all__ = [
    "Booked",
    "Carrier",
    "CarrierDelivered",
    "CarrierDispatched",
    "CarrierInTransit",
    "CarrierLost",
    "NotTaken",
    "SandboxCarrier",
    "shipping",
]

shipping = Participant(
    "shipping",
    state=Shipment,
    collection="shipments",
    fields=lambda shipment: {
        "customer_id": shipment.customer_id,
        "order_id": shipment.order_id,
        "tracking_number": shipment.tracking_number,
    },
    names=("customer_id", "order_id", "tracking_number"),
    indexes=(("customer_id",), ("order_id",), ("tracking_number",)),
)


@dataclass(frozen=True, slots=True)
class Booked:
    tracking_number: str


@dataclass(frozen=True, slots=True)
class NotTaken:
    code: str
    detail: str


class Carrier(Protocol):
    """What shipping asks of a carrier. Each may raise ``Retryable``: nothing is known then."""

    async def book(self, key: str, address: Address) -> Booked | NotTaken:
        """Book one parcel, however often it is called with ``key``."""
        ...

    async def cancel(self, key: str) -> bool:
        """Whether the parcel stays: booked or not, it will never leave. False: it has left."""
        ...


# ----------------------------------------------------------------------------------------- reports
# Private to shipping: the built-in carrier's reports arrive as these, and so do the webhook's.


class _CarrierReport(Event):
    private: ClassVar[bool] = True
    event_id: str
    occurred_at: float


class CarrierDispatched(_CarrierReport, version=1):
    """The parcel has left."""

    origin: ClassVar[str] = "carrier"


class CarrierInTransit(_CarrierReport, version=1):
    """The parcel was scanned on its way."""

    origin: ClassVar[str] = "carrier"


class CarrierDelivered(_CarrierReport, version=1):
    """The parcel has arrived."""

    origin: ClassVar[str] = "carrier"


class CarrierLost(_CarrierReport, version=1):
    """The parcel is gone."""

    origin: ClassVar[str] = "carrier"


# ---------------------------------------------------------------------------------------- sandbox

UNDELIVERABLE = "00000"
LOST = "99999"

ParcelStatus = Literal["booked", "dispatched", "in_transit", "delivered", "lost", "cancelled"]


class Parcel(BaseModel):
    """What the built-in carrier remembers, as a carrier's own database would."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    status: ParcelStatus
    tracking_number: str = ""
    gets_lost: bool = False
    step_s: float = 0.0


class BookParcel(Command):
    origin: ClassVar[str] = "carrier"
    postal_code: str
    step_s: float


class CancelParcel(Command):
    origin: ClassVar[str] = "carrier"


parcels = shipping.aggregate("parcels", Parcel)

Reported = CarrierDispatched | CarrierInTransit | CarrierDelivered | CarrierLost
_NEXT: dict[str, tuple[ParcelStatus, type[Reported]]] = {
    "booked": ("dispatched", CarrierDispatched),
    "dispatched": ("in_transit", CarrierInTransit),
    "in_transit": ("delivered", CarrierDelivered),
}


@parcels.command(BookParcel)
def book_parcel(
    command: BookParcel, parcel: Parcel | None, ctx: Context
) -> Decision[Parcel, Never] | Refusal:
    if parcel is not None and parcel.status == "cancelled":
        return Refusal("booking_voided", "This booking was cancelled before it came.")
    if parcel is not None:
        return Decision(parcel, reply=parcel.tracking_number)
    if command.postal_code == UNDELIVERABLE:
        return Refusal("undeliverable_address", "The carrier does not deliver to this address.")
    booked = Parcel(
        status="booked",
        tracking_number="TRK-" + ctx.key.replace("-", "").upper(),
        gets_lost=command.postal_code == LOST,
        step_s=command.step_s,
    )
    return Decision(booked, reply=booked.tracking_number, timers={"move": command.step_s})


@parcels.command(CancelParcel)
def cancel_parcel(command: CancelParcel, parcel: Parcel | None) -> Decision[Parcel, Never]:
    """Atomic with the carrier's own move: either it stays, or it has left."""
    if parcel is None or parcel.status in ("booked", "cancelled"):
        return Decision(Parcel(status="cancelled"), reply=True, timers={"move": None})
    return Decision(parcel, reply=False)


@parcels.timer("move", emits=[CarrierDispatched, CarrierInTransit, CarrierDelivered, CarrierLost])
def move_parcel(parcel: Parcel, ctx: Context) -> Decision[Parcel, Reported]:
    if parcel.status not in _NEXT:
        return Decision(parcel)
    status, report = _NEXT[parcel.status]
    if status == "delivered" and parcel.gets_lost:
        status, report = "lost", CarrierLost
    moved = parcel.model_copy(update={"status": status})
    event = report(event_id=f"{ctx.key}/{status}", occurred_at=ctx.now)
    return Decision(moved, event, timers={"move": parcel.step_s} if status in _NEXT else None)


class SandboxCarrier:
    """Moves parcels by itself, one step each ``step_s``; postal codes script its outcomes."""

    def __init__(self, runner: Runner, step_s: float) -> None:
        self._runner = runner
        self._step_s = step_s

    async def book(self, key: str, address: Address) -> Booked | NotTaken:
        command = BookParcel(postal_code=address.postal_code, step_s=self._step_s)
        try:
            reply = await self._runner.execute(parcels, key, command, first=True)
        except CommandRefused as refused:
            return NotTaken(refused.code, refused.detail)
        return Booked(tracking_number=cast(str, reply.value))

    async def cancel(self, key: str) -> bool:
        reply = await self._runner.execute(parcels, key, CancelParcel())
        return cast(bool, reply.value)
