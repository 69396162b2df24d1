"""The payment provider: a port, and the built-in sandbox behind it.

Every call carries a key of the caller's: a repeat finds the first result, and a key that was voided
never takes money again. A real provider is one class with these three methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Never, Protocol, cast

from pydantic import BaseModel, ConfigDict

from contracts.values import Money
from sagas import Command, CommandRefused, Decision, Kind, Participant, Refusal, Retryable, Runner

__all__ = [
    "KEY_VOIDED",
    "Charged",
    "Declined",
    "PaymentProvider",
    "SandboxProvider",
    "declare_sandbox",
]


@dataclass(frozen=True, slots=True)
class Charged:
    """The money is taken. ``charges``: how often, ever, under this key (1, or it is wrong)."""

    charges: int


#: The code of an answer to a key that was voided before.
KEY_VOIDED = "key_voided"


@dataclass(frozen=True, slots=True)
class Declined:
    """No money was taken, and this answer is final."""

    code: str
    detail: str


class PaymentProvider(Protocol):
    """What the shop asks of a provider. Every method may raise ``Retryable``; then nothing is
    known of its effect, and the same call with the same key finds out."""

    async def charge(self, key: str, amount: Money, token: str) -> Charged | Declined:
        """Take ``amount`` once, however often it is called with ``key``."""
        ...

    async def void(self, key: str) -> int | None:
        """Give back what is left of the charge ``key`` and take nothing under it ever again.

        The minor units that it had taken and not yet refunded before this or an earlier void;
        ``None`` when it never took any.
        """
        ...

    async def refund(self, key: str, refund_key: str, amount: int) -> None:
        """Give back a part of the charge ``key``, once for each ``refund_key``."""
        ...


# ---------------------------------------------------------------------------------------- sandbox


class Charge(BaseModel):
    """What the sandbox remembers under a key, as a provider's own database would."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    amount: int = 0
    charges: int = 0
    refunds: dict[str, int] = {}
    tries: int = 0
    voided: bool = False
    #: What the void gave back.
    returned: int = 0


class TakeMoney(Command):
    origin: ClassVar[str] = "payment provider"
    amount: int
    token: str


class VoidCharge(Command):
    origin: ClassVar[str] = "payment provider"


class RefundCharge(Command):
    origin: ClassVar[str] = "payment provider"
    refund_key: str
    amount: int


def declare_sandbox(payment: Participant[BaseModel]) -> Kind[Charge]:
    """The sandbox's ledger: documents of its own, kept as durably as everything else."""
    charges = payment.aggregate("charges", Charge)

    @charges.command(TakeMoney)
    def take_money(command: TakeMoney, charge: Charge | None) -> Decision[Charge, Never] | Refusal:
        charge = charge or Charge()
        if charge.voided:
            return Refusal(KEY_VOIDED, "This key was voided: it takes no money any more.")
        if charge.charges:
            return Decision(charge, reply="taken")  # a repeat: the first result stands
        tried = charge.model_copy(update={"tries": charge.tries + 1})
        taken = tried.model_copy(update={"charges": 1, "amount": command.amount})
        match command.token:
            case "tok_ok":
                return Decision(taken, reply="taken")
            case "tok_timeout":
                return Decision(taken, reply="answer lost")
            case "tok_flaky" if tried.tries <= 2:
                return Decision(tried, reply="down")
            case "tok_flaky":
                return Decision(taken, reply="taken")
            case "tok_outage":
                return Decision(tried, reply="down")
            case "tok_declined":
                return Refusal("payment_declined", "The card was declined.")
        return Refusal("payment_declined", "The sandbox does not know this token.")

    @charges.command(VoidCharge)
    def void_charge(command: VoidCharge, charge: Charge | None) -> Decision[Charge, Never]:
        charge = charge or Charge()
        if not charge.voided:
            left = charge.amount - sum(charge.refunds.values())
            charge = charge.model_copy(update={"voided": True, "returned": left})
        return Decision(charge, reply=charge.returned if charge.charges else None)

    @charges.command(RefundCharge)
    def refund_charge(command: RefundCharge, charge: Charge) -> Decision[Charge, Never] | Refusal:
        if command.refund_key in charge.refunds:
            return Decision(charge)
        refunds = {**charge.refunds, command.refund_key: command.amount}
        if charge.voided or sum(refunds.values()) > charge.amount:
            return Refusal("over_refund", "More than is left of this charge.")
        return Decision(charge.model_copy(update={"refunds": refunds}))

    return charges


class SandboxProvider:
    """Real code paths with scripted outcomes (the tokens of the public contract)."""

    def __init__(self, runner: Runner, charges: Kind[Charge]) -> None:
        self._runner = runner
        self._charges = charges

    async def charge(self, key: str, amount: Money, token: str) -> Charged | Declined:
        command = TakeMoney(amount=amount.amount, token=token)
        try:
            reply = await self._runner.execute(self._charges, key, command, first=True)
        except CommandRefused as refused:
            return Declined(refused.code, refused.detail)
        if reply.value == "down":
            raise Retryable("the payment provider is down; it is tried again")
        if reply.value == "answer lost":
            raise Retryable("the payment provider did not answer; its key tells what it did")
        return Charged(charges=reply.state.charges)

    async def void(self, key: str) -> int | None:
        reply = await self._runner.execute(self._charges, key, VoidCharge())
        return cast(int | None, reply.value)

    async def refund(self, key: str, refund_key: str, amount: int) -> None:
        command = RefundCharge(refund_key=refund_key, amount=amount)
        await self._runner.execute(self._charges, key, command)
