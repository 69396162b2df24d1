"""Dead letters hold back their own saga and no other; an operator lets them go."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from sagas import Event, Message
from sagas.envelope import event_version
from sagas.events import DeadLettered, DiscardRequested, ReplayRequested
from sagas.testing.harness import Harness
from tests.engine.toy import FlightBooked, Start, Toy

SAGA = "018f0000-0000-7000-8000-00000000000a"
OTHER = "018f0000-0000-7000-8000-00000000000b"


def _message(world: Harness, event: BaseModel, saga_id: str | None, **more: Any) -> Message:
    return Message(
        **{
            "id": world.ids.new(),
            "type": type(event).__name__,
            "version": event_version(type(event)),
            "source": "/test",
            "subject": saga_id or "",
            "saga_id": saga_id,
            "time": world.clock.now(),
            "data": event.model_dump_json().encode(),
            **more,
        }
    )


def _dead_letters(world: Harness) -> list[DeadLettered]:
    return [
        DeadLettered.model_validate_json(message.data)
        for message in world.broker.messages.values()
        if message.type == "DeadLettered"
    ]


async def _operate(world: Harness, cls: type[ReplayRequested | DiscardRequested]) -> None:
    dead = _dead_letters(world)[-1]
    event = cls(
        dead_letter_id=dead.dead_letter_id,
        participant=dead.participant,
        collection=dead.collection,
        key=dead.key,
        by="staff-1",
        reason="mended",
    )
    await world.broker.publish([_message(world, event, SAGA, to=dead.participant)])
    await world.quiet()


async def test_poison_is_stored_with_message_cause_and_stack() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(room="poison"))
        await world.quiet()
        (dead,) = _dead_letters(world)
        assert (dead.participant, dead.message_type, dead.cause) == (
            "hotel",
            "TripStarted",
            "Permanent",
        )
        assert "can never be booked" in dead.detail
        assert "book_room" in dead.stack
        assert SAGA in dead.message


async def test_a_bug_in_a_step_is_a_dead_letter_too_and_stops_nobody_else() -> None:
    toy = Toy()

    def bug(call: str) -> None:
        if SAGA in call:
            raise ZeroDivisionError("a bug")

    toy.outside.script = bug
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start())
        await world.execute("trip", OTHER, Start())
        await world.quiet()
        assert [dead.cause for dead in _dead_letters(world)] == ["ZeroDivisionError"]
        assert world.types(OTHER)[-1] == "FlightBooked"
        world.check()


async def test_later_messages_of_the_saga_wait_behind_it_and_follow_a_replay_in_order() -> None:
    toy = Toy()
    broken = {"is": True}

    def bug(call: str) -> None:
        if broken["is"] and call == f"{SAGA}/room":
            raise RuntimeError("broken")

    toy.outside.script = bug
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start())
        await world.quiet()
        refused = _message(world, toy_refusal(), SAGA)
        await world.broker.publish([refused])
        await world.quiet()
        assert toy.outside.calls[f"undo {SAGA}/room"] == 0, "the undo waits behind the step"
        broken["is"] = False
        await world.restart("hotel")  # what is held survives a restart
        await _operate(world, ReplayRequested)
        assert toy.outside.calls[f"{SAGA}/room"] == 2
        assert toy.outside.calls[f"undo {SAGA}/room"] == 1
        types = world.types(SAGA)
        assert types.index("DeadLetterResolved") < types.index("RoomBooked")
        assert types.index("RoomBooked") < types.index("RoomFreed")


def toy_refusal() -> Event:
    from tests.engine.toy import FlightRefused

    return FlightRefused()


async def test_a_replay_that_fails_again_is_a_new_dead_letter() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(room="poison"))
        await world.quiet()
        await _operate(world, ReplayRequested)
        first, second = _dead_letters(world)
        assert first.message_id == second.message_id
        assert first.dead_letter_id != second.dead_letter_id


async def test_a_discarded_dead_letter_lets_the_others_go_and_calls_a_person() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(room="poison"))
        await world.quiet()
        await world.broker.publish([_message(world, toy_refusal(), SAGA)])
        await world.quiet()
        await _operate(world, DiscardRequested)
        types = world.types(SAGA)
        assert "AttentionNeeded" in types
        assert types[-1] == "TripCancelled", "the undo that was held back has run"


async def test_replaying_twice_changes_nothing_more() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.execute("trip", SAGA, Start(room="poison"))
        await world.quiet()
        dead = _dead_letters(world)[0]
        await _operate(world, DiscardRequested)
        resolved = world.types(SAGA).count("DeadLetterResolved")
        again = DiscardRequested(
            dead_letter_id=dead.dead_letter_id,
            participant="hotel",
            collection=dead.collection,
            key=dead.key,
            by="staff-1",
            reason="again",
        )
        await world.broker.publish([_message(world, again, SAGA, to="hotel")])
        await world.quiet()
        assert world.types(SAGA).count("DeadLetterResolved") == resolved


async def test_an_unknown_version_ends_visible_and_holds_only_its_saga() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        event = _message(world, FlightBooked(), SAGA, version=9)
        await world.execute("trip", SAGA, Start(room="full"))
        await world.broker.publish([event])
        await world.execute("trip", OTHER, Start())
        await world.quiet()
        (dead,) = _dead_letters(world)
        assert "version 9" in dead.detail
        assert world.types(OTHER)[-1] == "FlightBooked"


async def test_data_that_does_not_fit_its_contract_ends_visible() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        bad = _message(world, FlightBooked(), SAGA, type="RoomBooked", data=b'{"flight": 7}')
        await world.broker.publish([bad])
        await world.quiet()
        (dead,) = _dead_letters(world)
        assert dead.participant == "airline"
        assert "flight" in dead.detail


async def test_an_event_without_a_saga_is_a_stray_dead_letter() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.broker.publish([_message(world, FlightBooked(), None)])
        await world.execute("trip", OTHER, Start())
        await world.quiet()
        (dead,) = _dead_letters(world)
        assert dead.collection == "strays"
        assert world.types(OTHER)[-1] == "FlightBooked"


async def test_an_event_for_a_saga_that_does_not_exist_ends_visible() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        await world.broker.publish([_message(world, FlightBooked(), SAGA)])
        await asyncio.sleep(60)  # it may still come: it is tried again for a while
        (dead,) = _dead_letters(world)
        assert (dead.participant, dead.key) == ("trip", SAGA)


async def test_a_poisoned_message_delivered_again_is_one_dead_letter() -> None:
    toy = Toy()
    async with Harness(toy.choreography, resources=toy.resources) as world:
        message = _message(world, FlightBooked(), SAGA)
        for _ in range(3):
            await world.broker.publish([message])
            await asyncio.sleep(1)
        await asyncio.sleep(60)  # it may still come: it is tried again for a while
        assert len(_dead_letters(world)) == 1
