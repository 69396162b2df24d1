"""Faults put into the engine and the shop on purpose: the simulator has to find each of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable
from typing import Any

import pytest

import sagas.decider
import sagas.worker
from participants.inventory.domain import Reservation, StockItem
from participants.inventory.ledger import StoredLedger
from participants.payment.provider import SandboxProvider
from participants.shipping.carrier import SandboxCarrier
from sagas import BrokerUnavailable, StoreUnavailable
from sagas.aggregate import Aggregate, StepStatus
from sagas.deadlines import Deadlines
from sagas.decider import Decider
from sagas.job import Job
from sagas.lanes import Lanes
from sagas.ports import Outcome
from sagas.relay import Relay
from sagas.rules import Verdict
from sagas.runner import Runner
from sagas.trouble import Trouble
from sagas.worker import Worker

Apply = Callable[[pytest.MonkeyPatch], None]


#: Each with the world it is played in.
MUTANTS: dict[str, tuple[str, Apply]] = {}


def mutant(world: str) -> Callable[[Apply], Apply]:
    """Register one, to be played in ``shop`` or ``counting``."""

    def register(apply: Apply) -> Apply:
        MUTANTS[apply.__name__] = (world, apply)
        return apply

    return register


# ------------------------------------------------------------------------ inbox, rules, document


@mutant("counting")
def the_inbox_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    true = sagas.decider.admit

    def admit(aggregate: Aggregate, reaction: Any, message: Any, **more: Any) -> Verdict:
        inbox, aggregate.inbox = aggregate.inbox, []
        try:
            return true(aggregate, reaction, message, **more)
        finally:
            aggregate.inbox = inbox

    patch.setattr(sagas.decider, "admit", admit)


def _read_without(name: str) -> Apply:
    def apply(patch: pytest.MonkeyPatch) -> None:
        true = Aggregate.read.__func__

        def read(cls: type, kind: Any, record: Any, now: float) -> Aggregate:
            aggregate = true(cls, kind, record, now)
            if now:  # the world's own look stays true
                setattr(aggregate, name, type(getattr(aggregate, name))())
            return aggregate

        patch.setattr(Aggregate, "read", classmethod(read))

    return apply


for _name in ("inbox", "steps", "timers", "retries", "outbox"):
    MUTANTS[f"a_restart_forgets_the_{_name}"] = (
        "shop" if _name in ("retries", "steps") else "counting",
        _read_without(_name),
    )


@mutant("shop")
def no_tombstone_is_left(patch: pytest.MonkeyPatch) -> None:
    true = sagas.decider.record

    def record(aggregate: Aggregate, reaction: Any, *rest: Any, **more: Any) -> None:
        true(aggregate, reaction, *rest, **more)
        if reaction.step is not None:
            name = reaction.step.name
            if aggregate.steps.get(name) is StepStatus.TOMBSTONE:
                del aggregate.steps[name]

    patch.setattr(sagas.decider, "record", record)


@mutant("shop")
def an_inverse_is_left_out(patch: pytest.MonkeyPatch) -> None:
    true = sagas.decider.admit

    def admit(*arguments: Any, **more: Any) -> Verdict:
        verdict = true(*arguments, **more)
        return Verdict.SKIP if verdict is Verdict.INVERSE else verdict

    patch.setattr(sagas.decider, "admit", admit)


@mutant("shop")
def an_instance_believes_that_it_is_alone(patch: pytest.MonkeyPatch) -> None:
    true = Runner.__init__

    def init(self: Runner, *arguments: Any, **more: Any) -> None:
        true(self, *arguments, **{**more, "alone": True})

    patch.setattr(Runner, "__init__", init)


@mutant("counting")
def an_effects_result_is_used_on_another_document(patch: pytest.MonkeyPatch) -> None:
    true = Decider._advance

    def advance(self: Decider, job: Job, work: Any) -> list[Job]:
        if job.finished:
            job.started_on = work.aggregate
        return true(self, job, work)

    patch.setattr(Decider, "_advance", advance)


# ------------------------------------------------------------------------ write, publish, ack


@mutant("counting")
def it_acks_before_it_writes(patch: pytest.MonkeyPatch) -> None:
    true = Worker.post

    def post(self: Worker, jobs: Any) -> None:
        jobs = list(jobs)
        if early := [job.delivery for job in jobs if job.delivery is not None]:
            self._ack(early)
        true(self, jobs)

    patch.setattr(Worker, "post", post)


@mutant("counting")
def it_publishes_before_it_writes(patch: pytest.MonkeyPatch) -> None:
    true = Worker._write

    async def write(self: Worker, works: Any) -> None:
        for work in works:
            self.relay.hand_over((work.kind.name, work.aggregate.key), work.fresh)
        await true(self, works)

    patch.setattr(Worker, "_write", write)


@mutant("counting")
def a_lost_race_counts_as_written(patch: pytest.MonkeyPatch) -> None:
    true = sagas.worker.patiently

    async def blindly(*arguments: Any) -> Any:
        outcomes = await true(*arguments)
        return [Outcome.DONE for _ in outcomes]

    patch.setattr(sagas.worker, "patiently", blindly)


@mutant("counting")
def an_unanswered_write_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    async def impatiently(call: Any, *rest: Any) -> Any:
        try:
            return await call()
        except StoreUnavailable:
            return itertools.repeat(Outcome.DONE)

    def zip_some(*rows: Any, strict: bool = False) -> Any:
        return zip(*rows, strict=False)

    patch.setattr(sagas.worker, "patiently", impatiently)
    patch.setattr(sagas.worker, "zip", zip_some, raising=False)


@mutant("counting")
def a_failed_publish_counts_as_sent(patch: pytest.MonkeyPatch) -> None:
    true = Relay._publish

    async def publish(self: Relay, batch: Any) -> None:
        broker, self._broker = self._broker, _Deaf(self._broker)
        try:
            await true(self, batch)
        finally:
            self._broker = broker

    patch.setattr(Relay, "_publish", publish)


class _Deaf:
    """A broker whose failures nobody hears."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def publish(self, messages: Any) -> None:
        while isinstance(self._inner, _Deaf):
            self._inner = self._inner._inner
        with contextlib.suppress(BrokerUnavailable):
            await self._inner.publish(messages)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


@mutant("counting")
def the_relay_reads_no_outbox(patch: pytest.MonkeyPatch) -> None:
    async def recover(self: Relay) -> None:
        await asyncio.sleep(0)

    patch.setattr(Relay, "recover", recover)


@mutant("shop")
def settling_empties_the_whole_outbox(patch: pytest.MonkeyPatch) -> None:
    def confirmed(self: Worker, slot: Any, message_id: str) -> None:
        aggregate = self.documents.peek(slot)
        if aggregate is not None:
            aggregate.outbox.clear()

    patch.setattr(Worker, "_confirmed", confirmed)


# ------------------------------------------------------------------------ timers and retries


@mutant("counting")
def a_restart_loses_deadlines(patch: pytest.MonkeyPatch) -> None:
    async def scan(self: Deadlines, now: float) -> bool:
        self._horizon = now + 2 * self._scan_s
        return True

    patch.setattr(Deadlines, "_scan", scan)


@mutant("counting")
def a_postponed_step_is_not_stored(patch: pytest.MonkeyPatch) -> None:
    true = Trouble.postpone

    def postpone(self: Trouble, job: Job, work: Any, failed: Any) -> None:
        true(self, job, work, failed)
        work.aggregate.retries.clear()

    patch.setattr(Trouble, "postpone", postpone)


@mutant("shop")
def a_stored_retry_outlives_its_success(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Trouble, "recovered", lambda self, job, work: None)


@mutant("counting")
def an_outage_of_the_store_kills_effects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lanes, "_goes_on", lambda self, job, error: False)


# ------------------------------------------------------------------------ the shop


_fresh = itertools.count()


@mutant("shop")
def money_is_taken_without_a_key(patch: pytest.MonkeyPatch) -> None:
    true = SandboxProvider.charge
    patch.setattr(
        SandboxProvider, "charge", lambda self, key, *rest: true(self, f"{next(_fresh)}", *rest)
    )


@mutant("shop")
def money_goes_back_without_a_key(patch: pytest.MonkeyPatch) -> None:
    true = SandboxProvider.void
    patch.setattr(SandboxProvider, "void", lambda self, key: true(self, f"{next(_fresh)}"))


@mutant("shop")
def stock_is_held_without_a_key(patch: pytest.MonkeyPatch) -> None:
    true = StoredLedger.hold
    patch.setattr(
        StoredLedger, "hold", lambda self, order_id, skus: true(self, f"{next(_fresh)}", skus)
    )


@mutant("shop")
def a_repeated_hold_takes_more(patch: pytest.MonkeyPatch) -> None:
    def hold(self: StockItem, order_id: str, quantity: int) -> StockItem | None:
        if order_id in self.released or quantity > self.available:
            return None
        held = self.holds.get(order_id, 0) + quantity
        return self._changed(
            reserved=self.reserved + quantity, holds={**self.holds, order_id: held}
        )

    patch.setattr(StockItem, "hold", hold)


@mutant("shop")
def a_release_leaves_no_marker(patch: pytest.MonkeyPatch) -> None:
    true = StockItem.release

    def release(self: StockItem, order_id: str, now: float) -> StockItem:
        return true(self, order_id, now).model_copy(update={"released": {}})

    patch.setattr(StockItem, "release", release)


@mutant("shop")
def a_withdrawal_leaves_no_marker(patch: pytest.MonkeyPatch) -> None:
    true = StockItem.withdraw

    def withdraw(self: StockItem, order_id: str, now: float) -> StockItem:
        return true(self, order_id, now).model_copy(update={"released": self.released})

    patch.setattr(StockItem, "withdraw", withdraw)


@mutant("shop")
def a_rejection_leaves_no_marker(patch: pytest.MonkeyPatch) -> None:
    true = StockItem.release

    def release(self: StockItem, order_id: str, now: float) -> StockItem:
        released = true(self, order_id, now)
        if order_id in self.holds:
            return released
        return released.model_copy(update={"released": self.released})

    patch.setattr(StockItem, "release", release)


@mutant("shop")
def leaked_holds_are_sought_in_the_wrong_place(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Reservation, "is_over", property(lambda self: self.status == "held"))


@mutant("shop")
def a_void_leaves_no_marker(patch: pytest.MonkeyPatch) -> None:
    true = SandboxProvider.void

    async def void(self: SandboxProvider, key: str) -> Any:
        if await self._runner.get(self._charges, key) is None:
            return None
        return await true(self, key)

    patch.setattr(SandboxProvider, "void", void)


@mutant("shop")
def the_carrier_is_not_asked_to_cancel(patch: pytest.MonkeyPatch) -> None:
    async def cancel(self: SandboxCarrier, key: str) -> bool:
        return True

    patch.setattr(SandboxCarrier, "cancel", cancel)


@mutant("shop")
def a_partial_hold_is_kept(patch: pytest.MonkeyPatch) -> None:
    true = StoredLedger.release

    async def release(self: StoredLedger, order_id: str, skus: Any) -> None:
        if not isinstance(skus, dict):
            await true(self, order_id, skus)

    patch.setattr(StoredLedger, "release", release)


@mutant("shop")
def more_is_held_than_there_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(StockItem, "available", property(lambda self: self.on_hand))
