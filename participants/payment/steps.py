"""Payment's part in the choreography: take the money once, give it back when the saga fails."""

from __future__ import annotations

from typing import ClassVar, Never

from contracts.events.inventory import StockRejected, StockReleased
from contracts.events.order import OrderCancelled, OrderPlaced
from contracts.events.payment import PaymentDeclined, PaymentRefunded, PaymentTaken, RefundIssued
from contracts.events.shipping import ParcelDelivered, ParcelLost
from contracts.values import Money
from participants.payment.domain import Payment
from participants.payment.provider import KEY_VOIDED, Declined, PaymentProvider, declare_sandbox
from sagas import Command, Context, Decision, Participant, Refusal, RetryPolicy

__all__ = ["RefundPayment", "charges", "payment"]

payment = Participant(
    "payment",
    state=Payment,
    collection="payments",
    fields=lambda payment: {"customer_id": payment.customer_id, "order_id": payment.order_id},
    names=("customer_id", "order_id"),
    indexes=(("customer_id",), ("order_id",)),
)
charges = declare_sandbox(payment)  # type: ignore[arg-type]  # it adds documents of its own kind

#: Spent within some seven seconds: a customer waits for this answer.
CHARGE_RETRY = RetryPolicy(attempts=6, first_s=0.2, factor=2.0, cap_s=30.0, time_limit_s=5.0)


@payment.step(on=OrderPlaced, emits=[PaymentTaken], refuses=[PaymentDeclined], retry=CHARGE_RETRY)
async def take_payment(
    order: OrderPlaced, provider: PaymentProvider
) -> Decision[Payment, PaymentTaken | PaymentDeclined]:
    # One charge for each order: the order's id is the key.
    answer = await provider.charge(order.order_id, order.total, order.payment_token)
    if isinstance(answer, Declined):
        if answer.code == KEY_VOIDED:
            # Given up before: the void was made, and its record was lost in a crash.
            voided = _payment(order, "voided")
            return Decision(voided, _unavailable(voided))
        declined = _payment(order, "declined")
        refusal = PaymentDeclined(
            order_id=order.order_id,
            payment_id=declined.payment_id,
            code="payment_declined",
            detail=answer.detail,
        )
        return Decision(declined, refusal)
    taken = _payment(order, "captured").model_copy(update={"charges": answer.charges})
    event = PaymentTaken(
        order_id=order.order_id,
        customer_id=order.customer_id,
        payment_id=taken.payment_id,
        amount=order.total,
        lines=order.lines,
        shipping_address=order.shipping_address,
    )
    return Decision(taken, event)


@take_payment.spent(refuses=[PaymentDeclined])
async def give_up_payment(
    order: OrderPlaced, provider: PaymentProvider
) -> Decision[Payment, PaymentDeclined]:
    """The provider stays away. Whatever it did all the same is voided by its key first."""
    await provider.void(order.order_id)
    voided = _payment(order, "voided")
    return Decision(voided, _unavailable(voided))


def _unavailable(voided: Payment) -> PaymentDeclined:
    return PaymentDeclined(
        order_id=voided.order_id,
        payment_id=voided.payment_id,
        status="voided",
        code="payment_unavailable",
        detail="The payment provider could not be reached; nothing was charged.",
    )


@take_payment.undone(on=[StockRejected, StockReleased, ParcelLost], emits=[PaymentRefunded])
async def refund_payment(
    event: StockRejected | StockReleased | ParcelLost,
    payment: Payment | None,
    provider: PaymentProvider,
    ctx: Context,
) -> Decision[Payment | None, PaymentRefunded]:
    """Also when no payment is recorded: the charge may have happened, and must not happen later."""
    returned = await provider.void(ctx.key)
    currency = payment.amount.currency if payment is not None else None
    amount = None
    if returned is not None and currency is not None:
        amount = Money(amount=returned, currency=currency)
    refunded = PaymentRefunded(
        order_id=ctx.key, amount=amount, code=event.code, detail=event.detail
    )
    if payment is None:
        return Decision(None, refunded)
    return Decision(payment.refund(payment.left).closed(), refunded)


@payment.follows(OrderCancelled, ParcelDelivered)
def saga_ended(payment: Payment | None) -> Decision[Payment | None, Never]:
    """From here on staff may refund."""
    return Decision(None if payment is None else payment.closed())


class RefundPayment(Command):
    """``refund_id`` makes a repeat harmless; the whole of what is left without ``amount``."""

    origin: ClassVar[str] = "POST /api/payments/{id}/refund"
    refund_id: str
    amount: Money | None
    reason: str


@payment.command(RefundPayment)
def decide_refund(
    command: RefundPayment, payment: Payment | None
) -> Decision[Payment, Never] | Refusal:
    """Written down first: whatever dies from here on, the refund is made, once."""
    if payment is None:
        return Refusal("not_found", "There is no such payment.")
    if payment.saga_open:
        return Refusal("saga_running", "The order's saga is not over: cancel the order instead.")
    if command.amount is not None and command.amount.currency != payment.amount.currency:
        return Refusal("wrong_currency", f"This payment is in {payment.amount.currency}.")
    amount = payment.left if command.amount is None else command.amount.amount
    if amount > payment.left or amount == 0:
        return Refusal("over_refund", f"{payment.left} minor units are left to refund.")
    intended = payment.intend(command.refund_id, amount, command.reason)
    return Decision(intended, timers={"refunds": 0.0})


@payment.timer("refunds", emits=[RefundIssued])
async def make_refunds(
    payment: Payment, provider: PaymentProvider
) -> Decision[Payment, RefundIssued]:
    issued = []
    for refund_id, (amount, reason) in payment.pending.items():
        await provider.refund(payment.order_id, refund_id, amount)
        payment = payment.made(refund_id)
        event = RefundIssued(
            order_id=payment.order_id,
            payment_id=payment.payment_id,
            amount=Money(amount=amount, currency=payment.amount.currency),
            reason=reason,
            status=payment.status,
        )
        issued.append(event)
    return Decision(payment, *issued)


def _payment(order: OrderPlaced, status: str) -> Payment:
    return Payment.model_validate(
        {
            "payment_id": order.order_id,
            "order_id": order.order_id,
            "customer_id": order.customer_id,
            "status": status,
            "amount": order.total,
        }
    )
