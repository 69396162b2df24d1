"""One delivery, one atomic write: steps, their undo, and every rule of compensation."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from sagas import CommandRefused, Message, Permanent, StoreUnavailable
from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import encode
from sagas.runner import Runner
from sagas.testing.harness import Harness
from sagas.testing.unruly import UnrulyBroker
from tests.engine.toy import (
    CancelAsked,
    FlightRefused,
    RoomBooked,
    Start,
    Toy,
    Trip,
    TripStarted,
    unavailable,
)

SAGA = "018f0000-0000-7000-8000-000000000001"


async def _publish(world: Harness, event: BaseModel, saga_id: str = SAGA) -> None:
    """An event from somewhere, as any program could publish it."""
    await world.broker.publish([_message(world, event, saga_id)])


def _message(world: Harness, event: BaseModel, saga_id: str = SAGA) -> Message:
    return Message(
        id=world.ids.new(),
        type=type(event).__name__,
        source="/test",
        subject=saga_id,
        saga_id=saga_id,
        time=world.clock.now(),
        data=event.model_dump_json().encode(),
    )


async def _state(world: Harness, name: str) -> str | None:
    state = await world.state(name, SAGA)
    return state.status if isinstance(state, Trip) else None


async def test_a_saga_runs_to_its_end() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start())
        await world.quiet()
        assert world.types(SAGA) == ["TripStarted", "RoomBooked", "FlightBooked"]
        assert await _state(world, "trip") == "done"
        assert toy.outside.done == {f"{SAGA}/room": 1, f"{SAGA}/flight": 1}
        world.check()


async def test_causes_ids_and_traces_are_carried_from_event_to_event() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(), request_id="req-1", traceparent="00-aa-bb-01")
        await world.quiet()
        started, booked, flown = world.events(SAGA)
        assert booked.causation_id == started.id
        assert flown.causation_id == booked.id
        assert {m.request_id for m in world.events(SAGA)} == {"req-1"}
        assert {m.traceparent for m in world.events(SAGA)} == {"00-aa-bb-01"}
        assert {m.saga_id for m in world.events(SAGA)} == {SAGA}


async def test_a_refusal_is_undone_backwards() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(flight="sold out"))
        await world.quiet()
        assert world.types(SAGA) == [
            "TripStarted",
            "RoomBooked",
            "FlightRefused",
            "RoomFreed",
            "TripCancelled",
        ]
        assert await _state(world, "trip") == "cancelled"
        assert toy.outside.done[f"{SAGA}/room"] == 0


@pytest.mark.parametrize("seed", range(20))
async def test_repeats_and_any_order_change_nothing(seed: int) -> None:
    toy = Toy()
    unruly = UnrulyBroker(EmbeddedBroker(), seed=seed, copies=3)
    async with Harness(
        toy.choreography, resources=toy.resources, broker=lambda world: unruly
    ) as world:
        await world.execute("trip", SAGA, Start())
        await world.quiet()
        assert sorted(world.types(SAGA)) == ["FlightBooked", "RoomBooked", "TripStarted"]
        assert toy.outside.done == {f"{SAGA}/room": 1, f"{SAGA}/flight": 1}
        world.check()


async def test_a_command_with_an_id_is_done_once() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        first = await world.execute("trip", SAGA, Start(), id="op-1")
        again = await world.execute("trip", SAGA, Start(), id="op-1")
        await world.quiet()
        assert (first.repeated, again.repeated) == (False, True)
        assert world.types(SAGA).count("TripStarted") == 1


async def test_an_empty_compensation_leaves_a_tombstone_and_the_late_step_does_not_run() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await _publish(world, CancelAsked())
        await world.quiet()
        assert world.types(SAGA)[-2:] == ["RoomFreed", "TripCancelled"]
        assert toy.outside.calls[f"undo {SAGA}/room"] == 1, "the effect may have happened"
        await _publish(world, TripStarted(flight="ok", room="ok"))
        await world.quiet()
        assert toy.outside.calls[f"{SAGA}/room"] == 0
        assert await world.state("hotel", SAGA) is None


async def test_an_undo_that_arrives_many_times_undoes_once() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(flight="sold out"))
        await world.quiet()
        for _ in range(5):
            await _publish(world, FlightRefused())
        await world.quiet()
        assert toy.outside.calls[f"undo {SAGA}/room"] == 1
        assert world.types(SAGA).count("RoomFreed") == 1


async def test_a_crash_between_effect_and_write_repeats_the_effect_by_its_key() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        stuck = asyncio.Event()
        toy.outside.script = lambda call: stuck.wait() if "flight" in call else None
        await world.execute("trip", SAGA, Start())
        await asyncio.sleep(1.0)
        toy.outside.done[f"{SAGA}/flight"] = 1  # it happened; nobody was told
        await world.crash("airline")
        toy.outside.script = lambda call: None
        await world.restart("airline")
        await world.quiet()
        assert toy.outside.calls[f"{SAGA}/flight"] == 2
        assert toy.outside.done[f"{SAGA}/flight"] == 1
        assert await _state(world, "trip") == "done"


async def test_a_late_forward_whose_effect_ran_calls_the_inverse_before_it_acks() -> None:
    """Two instances: one is in the middle of the effect while the other takes the undo."""
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        gate = asyncio.Event()
        toy.outside.script = lambda call: gate.wait() if call == f"{SAGA}/room" else None
        await world.execute("trip", SAGA, Start())
        await asyncio.sleep(1.0)
        # The other instance hears of the undo first; this one has the queue of the test to itself.
        elsewhere = EmbeddedBroker()
        await elsewhere.open(world.choreography.queues())
        quick = Runner(
            world.choreography.participants[1],
            store=world.database.store("hotel"),
            broker=elsewhere,
            clock=world.clock,
            ids=world.ids,
            resources=toy.resources["hotel"],
        )
        await quick.start()
        published = asyncio.create_task(elsewhere.publish([_message(world, CancelAsked())]))
        await asyncio.sleep(1.0)
        assert toy.outside.calls[f"undo {SAGA}/room"] == 1
        toy.outside.undone.clear()  # a port with a short memory: the inverse has to come again
        gate.set()
        await asyncio.sleep(5.0)
        assert toy.outside.done[f"{SAGA}/room"] == 0
        assert toy.outside.calls[f"undo {SAGA}/room"] == 2
        assert "RoomBooked" not in world.types(SAGA)
        await quick.kill()
        published.cancel()


async def test_retries_in_place_then_stored_then_success() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        toy.outside.script = unavailable(2)
        await world.execute("trip", SAGA, Start())
        await world.quiet(30)
        assert await _state(world, "trip") == "done"
        booked = next(m for m in world.events(SAGA) if m.type == "RoomBooked")
        assert booked.attempt == 3


async def test_a_stored_retry_survives_a_crash_and_does_not_start_over() -> None:
    toy = Toy(attempts=8)
    async with Harness(toy.choreography, resources=toy.resources) as world:
        toy.outside.script = unavailable(5)
        await world.execute("trip", SAGA, Start())
        await asyncio.sleep(4.0)
        tried = toy.outside.calls[f"{SAGA}/room"]
        assert 2 < tried < 6
        await world.restart("hotel")
        await world.quiet(60)
        assert toy.outside.calls[f"{SAGA}/room"] == 6
        assert await _state(world, "trip") == "done"


async def test_spent_retries_call_for_attention_and_go_on_until_they_succeed() -> None:
    toy = Toy(attempts=3)
    async with Harness(toy.choreography, resources=toy.resources) as world:
        toy.outside.script = unavailable(6)
        await world.execute("trip", SAGA, Start())
        await world.quiet(120)
        types = world.types(SAGA)
        assert types.count("AttentionNeeded") == 2  # room and flight, once each
        assert types.count("AttentionResolved") == 2
        assert await _state(world, "trip") == "done"


async def test_an_undo_ends_the_stored_retries_of_its_step() -> None:
    toy = Toy(attempts=20)
    async with Harness(toy.choreography, resources=toy.resources) as world:
        toy.outside.script = lambda call: (
            unavailable(99)(call)
            if call.endswith("room") and (not call.startswith("undo"))
            else None
        )
        await world.execute("trip", SAGA, Start())
        await asyncio.sleep(10.0)
        await _publish(world, CancelAsked())
        await asyncio.sleep(5.0)
        tried = toy.outside.calls[f"{SAGA}/room"]
        await world.quiet(300)
        assert toy.outside.calls[f"{SAGA}/room"] == tried
        assert await _state(world, "trip") == "cancelled"


async def test_a_conflict_is_decided_again_on_what_is_stored() -> None:
    """Two instances of one participant, a hundred commands: every one of them counts."""
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        first = world.runners["trip"]
        world.runners.pop("trip")
        second = await world.restart("trip")
        kind = first.participant.saga
        replies = await asyncio.gather(
            *(
                (first if n % 2 else second).execute(kind, f"saga-{n % 10}", Start(), id=f"op-{n}")
                for n in range(100)
            )
        )
        assert len(replies) == 100
        await world.quiet()
        for n in range(10):
            assert world.types(f"saga-{n}").count("TripStarted") == 1
        await first.kill()


async def test_a_store_outage_pauses_and_loses_nothing() -> None:
    toy = Toy()
    down = {"is": False}

    class Flaky:
        def __init__(self, inner: object) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> object:
            method = getattr(self._inner, name)

            async def call(*args: object, **kwargs: object) -> object:
                if down["is"] and name in ("commit", "load", "pending", "due"):
                    raise StoreUnavailable("the disk is away")
                return await method(*args, **kwargs)

            return call

    async with Harness(
        toy.choreography,
        resources=toy.resources,
        store=lambda name, store: Flaky(store) if name == "hotel" else store,  # type: ignore[return-value,arg-type]
    ) as world:
        down["is"] = True
        await world.execute("trip", SAGA, Start())
        await asyncio.sleep(60)
        assert world.types(SAGA) == ["TripStarted"]
        down["is"] = False
        await world.quiet()
        assert await _state(world, "trip") == "done"
        assert world.runners["hotel"].trouble.retries == 0, "an outage spends nobody's retries"


async def test_an_unknown_command_is_a_fault_of_the_caller() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        with pytest.raises(Permanent, match="no reaction to Start"):
            await world.execute("hotel", SAGA, Start())


def test_commands_refused_carry_code_and_detail() -> None:
    refused = CommandRefused("too_late", "It has left.")
    assert (refused.code, refused.detail) == ("too_late", "It has left.")


async def test_events_published_as_plain_bytes_are_understood() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await _publish(world, RoomBooked(flight="ok"))
        await world.quiet()
        assert b'"type":"RoomBooked"' in encode(world.events(SAGA)[0])
        assert toy.outside.done[f"{SAGA}/flight"] == 1
