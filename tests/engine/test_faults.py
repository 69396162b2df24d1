"""Rare faults, one story each: of the broker, of the store, of a declaration's own functions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Never

import pytest
from pydantic import BaseModel

from sagas import (
    BrokerUnavailable,
    Choreography,
    Command,
    Decision,
    Event,
    Message,
    Note,
    Participant,
    Retryable,
    RetryPolicy,
    StoreUnavailable,
)
from sagas.brokers.embedded import EmbeddedBroker
from sagas.ports import Outcome, Store, Write
from sagas.testing.harness import Harness
from tests.engine.toy import Start, Toy


class Count(BaseModel):
    n: int = 0


class Go(Command):
    pass


class Ask(Command):
    pass


class Went(Event):
    pass


class Done(Event):
    pass


class Refused(Event):
    pass


class UndoAsked(Event):
    pass


class CannotUndo(Event):
    pass


class Undone(Event):
    pass


def _starter() -> Participant[Count]:
    starter = Participant("starter", state=Count)

    @starter.step(on=Go, emits=[Went])
    def go(command: Go) -> Decision[Count, Went]:
        return Decision(Count(), Went())

    @go.undone(on=[Refused], emits=[Undone])
    def take_back(count: Count | None) -> Decision[Count | None, Undone]:
        return Decision(count, Undone())

    @starter.command(Ask, emits=[UndoAsked])
    def ask(count: Count) -> Decision[Count, UndoAsked]:
        return Decision(count, UndoAsked())

    return starter


def _choreography(worker: Participant[Any]) -> Choreography:
    return Choreography("work", [_starter(), worker], completed_by=[Done], compensated_by=[Undone])


# ------------------------------------------------------------------------------ the last word


@pytest.mark.parametrize("plain", [True, False], ids=["plain function", "coroutine"])
async def test_a_last_word_may_be_a_plain_function_or_a_coroutine(plain: bool) -> None:
    worker = Participant("worker", state=Count)

    @worker.step(
        on=Went, emits=[Done], refuses=[Refused], retry=RetryPolicy(attempts=2, first_s=0.1)
    )
    async def work(event: Went) -> Decision[Count, Done | Refused]:
        raise Retryable("down")

    if plain:

        @work.spent(refuses=[Refused])
        def give_up(event: Went) -> Decision[Count, Refused]:
            return Decision(Count(), Refused())

    else:

        @work.spent(refuses=[Refused])
        async def give_up_outside(event: Went) -> Decision[Count, Refused]:
            return Decision(Count(), Refused())

    async with Harness(_choreography(worker)) as world:
        await world.execute("starter", "s", Go())
        await world.quiet()
        assert world.types("s") == ["Went", "Refused", "Undone"]


async def test_a_last_word_has_tries_of_its_own() -> None:
    worker, voids = Participant("worker", state=Count), list[float]()

    @worker.step(on=Went, emits=[Done], refuses=[Refused], retry=RetryPolicy(attempts=6))
    async def work(event: Went) -> Decision[Count, Done | Refused]:
        raise Retryable("down")

    @work.spent(refuses=[Refused])
    async def give_up(event: Went) -> Decision[Count, Refused]:
        voids.append(asyncio.get_running_loop().time())
        if len(voids) == 1:
            raise Retryable("one dropped packet")
        return Decision(Count(), Refused())

    async with Harness(_choreography(worker)) as world:
        await world.execute("starter", "s", Go())
        await world.quiet(100)
        assert "AttentionNeeded" not in world.types("s")
        assert voids[1] - voids[0] < 1.0
        refused = next(m for m in world.events("s") if m.type == "Refused")
        assert refused.attempt == 6, "what it says counts the tries before it"


async def test_an_undo_that_refuses_leaves_its_step_to_be_tried_on() -> None:
    worker, tries = Participant("worker", state=Count), list[int]()

    @worker.step(on=Went, emits=[Done], retry=RetryPolicy(attempts=9, first_s=2.0, jitter=0.0))
    async def work(event: Went) -> Decision[Count, Done]:
        tries.append(1)
        if len(tries) < 3:
            raise Retryable("down")
        return Decision(Count(), Done())

    @work.undone(on=[UndoAsked], emits=[Undone], refuses=[CannotUndo])
    async def undo(count: Count | None) -> Decision[Count | None, Undone | CannotUndo]:
        return Decision(count, CannotUndo())

    async with Harness(_choreography(worker)) as world:
        await world.execute("starter", "s", Go())
        await asyncio.sleep(1)
        await world.execute("starter", "s", Ask())
        await world.quiet(60)
        assert "CannotUndo" in world.types("s")
        assert world.types("s")[-1] == "Done"


async def test_a_taken_value_wanted_by_an_event_is_a_dead_letter() -> None:
    """No caller can be told, and no repetition would help."""
    worker = Participant(
        "worker", state=Count, fields=lambda count: {"n": count.n}, names=("n",), unique=("n",)
    )

    @worker.step(on=Went, emits=[Done])
    def work(event: Went) -> Decision[Count, Done]:
        return Decision(Count(n=7), Done())

    async with Harness(_choreography(worker)) as world:
        await world.execute("starter", "first", Go())
        await world.quiet()
        await world.execute("starter", "second", Go())
        await world.quiet()
        assert world.types("first") == ["Went", "Done"]
        assert world.types("second") == ["Went", "DeadLettered"]


# --------------------------------------------------------------------------- broker and store


class _Hiccup(EmbeddedBroker):
    """Fails the first publish of the trip's start."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self._errors = [error]
        self.published: list[float] = []

    async def publish(self, messages: Sequence[Message]) -> None:
        if any(message.type == "TripStarted" for message in messages):
            self.published.append(asyncio.get_running_loop().time())
            if self._errors:
                raise self._errors.pop()
        await super().publish(messages)


@pytest.mark.parametrize("start", [0.5, 3.0, 20.0])
@pytest.mark.parametrize(
    "error", [BrokerUnavailable("a hiccup"), RuntimeError("unexpected")], ids=repr
)
async def test_a_failed_publish_is_made_again_soon(error: Exception, start: float) -> None:
    toy, broker = Toy(), _Hiccup(error)
    async with Harness(
        toy.choreography, resources=toy.resources, broker=lambda world: broker
    ) as world:
        await asyncio.sleep(start)
        await world.execute("trip", "t", Start())
        await world.quiet()
        assert world.types("t")[-1] == "FlightBooked"
        assert broker.published[1] - broker.published[0] < 3.0


class _AnswerLost:
    """A store whose first commit to a collection is done, and whose answer to it is lost."""

    def __init__(self, inner: Store, collection: str) -> None:
        self._inner = inner
        self._collection = collection
        self._armed = True

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        outcomes = await self._inner.commit(writes)
        if self._armed and any(write.collection == self._collection for write in writes):
            self._armed = False
            raise StoreUnavailable("the answer was lost")
        return outcomes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_commit_whose_answer_was_lost_is_found_out_soon() -> None:
    toy = Toy()
    wrap: Callable[[str, Store], Any] = lambda name, store: (  # noqa: E731
        _AnswerLost(store, "hotel") if name == "hotel" else store
    )
    async with Harness(toy.choreography, resources=toy.resources, store=wrap) as world:
        await asyncio.sleep(1.5)
        await world.execute("trip", "t", Start())
        await asyncio.sleep(4.0)
        assert world.types("t") == ["TripStarted", "RoomBooked", "FlightBooked"]
        assert toy.outside.done["t/room"] == 1


class _LosesOnce:
    """A store whose first commit finds that another instance wrote first."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.lost = 0

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.lost:
            return await self._inner.commit(writes)
        self.lost += 1
        return [Outcome.CONFLICT for _ in writes]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_note_is_logged_and_counted_once_its_write_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = Participant("worker", state=Count)

    @worker.follows(Went)
    def hear(event: Went, count: Count | None) -> Decision[Count, Never]:
        return Decision(Count(), notes=[Note("odd", "it is odd")])

    stores: dict[str, Any] = {}

    def wrap(name: str, store: Store) -> Any:
        return stores.setdefault(name, _LosesOnce(store) if name == "worker" else store)

    async with Harness(_choreography(worker), store=wrap) as world:
        await world.execute("starter", "s", Go())
        await world.quiet()
        assert stores["worker"].lost == 1
        assert world.runners["worker"].counts.notes == {"odd": 1}
        assert caplog.text.count("it is odd") == 1


async def test_a_command_after_the_end_is_told_so() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        runner = world.runners["trip"]
        await runner.kill()
        with pytest.raises(StoreUnavailable, match="stopped"):
            await runner.execute(runner.participant.saga, "k", Start())
