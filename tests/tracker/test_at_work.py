"""The tracker beside a running choreography: what is stuck, dead letters, streams, operators."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from sagas import CommandRefused
from sagas.envelope import timestamp
from sagas.errors import StoreUnavailable
from sagas.ports import Query, Record
from sagas.testing.memory import MemoryStore
from sagas.tracker import Tracker
from tests.tracker import toy
from tests.tracker.alone import Alone
from tests.tracker.bakery import Bakery
from tests.tracker.history import SAGA, START, ordered, statuses

STAFF = "eve"


async def test_the_tracker_sees_a_saga_through(bakery: Bakery) -> None:
    await bakery.order()
    saga = await bakery.saga()
    assert saga["status"] == "running"
    assert saga["remaining"] == ["carry", "hand_over"]

    await bakery.courier(toy.Carry(), toy.HandOver())

    saga = await bakery.saga()
    assert saga["status"] == "completed"
    assert [event["type"] for event in saga["events"]] == [
        "Ordered",
        "Baked",
        "Packed",
        "Carried",
        "HandedOver",
    ]
    assert saga["events"][1]["causation_id"] == saga["events"][0]["event_id"]
    assert saga["events"][0]["data"]["card"] == "[redacted]"


async def test_a_refused_saga_is_seen_compensated(bakery: Bakery) -> None:
    await bakery.order(parcel="huge")

    saga = await bakery.saga()
    assert saga["status"] == "compensated"
    assert saga["failure"] == {"step": "pack", "code": "too_big", "detail": "It does not fit."}


async def test_what_was_heard_outlives_a_crash_of_the_tracker(bakery: Bakery) -> None:
    await bakery.order()
    before = await bakery.saga()
    await bakery.tracker.kill()
    bakery.tracker = bakery.new_tracker()
    await bakery.tracker.start()

    assert await bakery.saga() == before
    await bakery.courier(toy.Carry(), toy.HandOver())
    assert (await bakery.saga())["status"] == "completed"


async def test_lists_are_newest_first_and_filtered(bakery: Bakery) -> None:
    for number in range(3):
        await bakery.order(f"saga-{number}", parcel="huge" if number == 1 else "small")

    async def found(**where: Any) -> list[str]:
        return [record.key for record, _ in await bakery.tracker.find_sagas(where)]

    assert await found() == ["saga-2", "saga-1", "saga-0"]
    assert await found(status="compensated") == ["saga-1"]
    assert await found(stuck=True) == []
    assert await found(owner="ada") == ["saga-2", "saga-1", "saga-0"]
    newest = await bakery.tracker.view("saga-2")
    assert newest is not None
    recent = await bakery.tracker.find_sagas(since=newest.started_at or 0.0)
    assert [record.key for record, _ in recent] == ["saga-2"]
    listed = bakery.tracker.listed(recent[0])
    assert listed["saga_id"] == "saga-2"
    assert "events" not in listed


# ---------------------------------------------------------------------------------------- stuck


async def test_a_step_that_does_not_report_in_time_makes_its_saga_stuck(alone: Alone) -> None:
    await alone.hear(ordered())  # at START + 1, and to be baked within 30 s
    await alone.until(START + 1 + toy.BAKE_DEADLINE_S - 0.5)
    assert not await alone.stuck()

    await alone.until(START + 1 + toy.BAKE_DEADLINE_S + 0.5)
    assert await alone.stuck()
    assert [record.key for record, _ in await alone.tracker.find_sagas({"stuck": True})] == [SAGA]
    saga = await alone.tracker.saga(SAGA)
    assert saga is not None
    assert (saga["status"], saga["stuck"]) == ("running", True)

    await alone.hear(toy.Baked(), toy.Packed())
    assert not await alone.stuck()


async def test_each_step_has_its_own_deadline(alone: Alone) -> None:
    await alone.hear(ordered(), toy.Baked())  # to be packed within 60 s of START + 2
    await alone.until(START + 2 + toy.PACK_DEADLINE_S - 0.5)
    assert not await alone.stuck()
    await alone.until(START + 2 + toy.PACK_DEADLINE_S + 0.5)
    assert await alone.stuck()


async def test_a_deadline_holds_across_a_restart_of_the_tracker(alone: Alone) -> None:
    await alone.hear(ordered())
    await alone.tracker.kill()
    await alone.until(START + 100)
    alone.tracker = alone.new_tracker()
    await alone.tracker.start()
    await asyncio.sleep(0.5)

    assert await alone.stuck()


async def test_an_undo_that_does_not_report_makes_its_saga_stuck_too(alone: Alone) -> None:
    await alone.hear(ordered(), toy.Baked(), toy.PackFailed())
    await alone.until(START + 3 + toy.BAKE_DEADLINE_S + 0.5)
    assert await alone.stuck()

    await alone.hear(toy.Binned(), toy.OrderVoided())
    assert not await alone.stuck()


async def test_an_ended_saga_is_never_stuck(alone: Alone) -> None:
    await alone.hear(ordered(), toy.HandedOver())
    await alone.until(START + 1_000)
    assert not await alone.stuck()


async def test_what_is_of_no_saga_or_private_costs_no_document(alone: Alone) -> None:
    private = alone.history.tell(ordered(), to="kitchen")
    nobody = alone.history.tell(ordered())
    object.__setattr__(nobody, "saga_id", None)
    await alone.broker.publish([private, nobody])

    assert await alone.tracker.saga(SAGA) is None
    assert sum(runner.counts.writes for runner in alone.tracker.runners) == 0


@pytest.mark.parametrize("fraction", [0.1234564, 0.1234566, 0.9999996])
async def test_since_a_moment_as_shown_finds_that_very_saga(alone: Alone, fraction: float) -> None:
    start = replace(alone.history.tell(ordered()), time=START + fraction)
    await alone.broker.publish([start])
    saga = await alone.tracker.saga(SAGA)
    assert saga is not None

    found = await alone.tracker.find_sagas(since=timestamp(saga["started_at"]))

    assert [record.key for record, _ in found] == [SAGA]


async def test_a_repeat_costs_no_write(alone: Alone) -> None:
    await alone.hear(ordered())
    writes = alone.tracker.runners[0].counts.writes
    await alone.broker.publish(alone.history.messages)
    assert alone.tracker.runners[0].counts.writes == writes


# ---------------------------------------------------------------------------------- dead letters


async def test_a_dead_letter_is_listed_replayed_and_gone(bakery: Bakery) -> None:
    bakery.oven.fault = "broken"
    await bakery.order()
    [letter_id] = await bakery.letters()
    assert (await bakery.saga())["status"] == "attention"
    letter = await bakery.tracker.dead_letter(letter_id)
    assert letter is not None
    assert (letter["saga_id"], letter["participant"], letter["type"], letter["cause"]) == (
        SAGA,
        "kitchen",
        "Ordered",
        "Permanent",
    )
    assert letter["status"] == "open"
    assert letter["data"]["parcel"] == "small"
    assert "the oven is broken" in letter["detail"]
    assert "4000-1234" not in repr(letter)
    assert await bakery.letters(participant="courier") == []

    bakery.oven.fault = None
    await bakery.tracker.replay(letter_id, by=STAFF, reason="repaired")
    await bakery.settle()

    assert await bakery.letters() == []
    saga = await bakery.saga()
    assert (saga["status"], statuses(saga)["pack"]) == ("running", "done")
    letter = await bakery.tracker.dead_letter(letter_id)
    assert letter is not None
    assert letter["status"] == "replayed"
    assert [(each["action"], each["by"], each["reason"]) for each in letter["actions"]] == [
        ("replay_requested", STAFF, "repaired"),
        ("replayed", STAFF, "repaired"),
    ]
    resolved = [event for event in saga["events"] if event["type"] == "DeadLetterResolved"]
    assert resolved[0]["data"]["by"] == STAFF

    with pytest.raises(CommandRefused) as refused:
        await bakery.tracker.replay(letter_id, by=STAFF, reason="again")
    assert refused.value.code == "already_resolved"


async def test_a_discarded_dead_letter_leaves_its_saga_to_a_person(bakery: Bakery) -> None:
    bakery.oven.fault = "broken"
    await bakery.order()
    [letter_id] = await bakery.letters()

    await bakery.tracker.discard(letter_id, by=STAFF, reason="hopeless")
    await bakery.settle()

    letter = await bakery.tracker.dead_letter(letter_id)
    assert letter is not None
    assert letter["status"] == "discarded"
    assert (await bakery.saga())["status"] == "attention"


async def test_all_that_match_are_replayed_at_once(bakery: Bakery) -> None:
    bakery.oven.fault = "broken"
    for number in range(3):
        await bakery.order(f"saga-{number}")
    assert len(await bakery.letters(cause="Permanent")) == 3
    bakery.oven.fault = None

    replay_all = bakery.tracker.replay_all
    assert await replay_all({"participant": "courier"}, by=STAFF, reason="repaired") == 0
    assert await replay_all({"cause": "Permanent"}, by=STAFF, reason="repaired") == 3
    await bakery.settle()

    assert await bakery.letters() == []
    for number in range(3):
        assert (await bakery.saga(f"saga-{number}"))["status"] == "running"


async def test_an_unknown_dead_letter_cannot_be_replayed(bakery: Bakery) -> None:
    with pytest.raises(CommandRefused) as refused:
        await bakery.tracker.replay("nothing", by=STAFF, reason="try")
    assert refused.value.code == "not_found"
    assert await bakery.tracker.dead_letter("nothing") is None


# ------------------------------------------------------------------------------------- operators


async def test_an_operator_cancels_a_saga_and_it_is_recorded(bakery: Bakery) -> None:
    await bakery.order()

    await bakery.tracker.cancel(SAGA, by=STAFF, reason="recall")
    await bakery.settle()

    saga = await bakery.saga()
    assert saga["status"] == "compensated"
    assert saga["failure"] == {"step": None, "code": "stopped_by_staff", "detail": "recall"}
    [asked] = [event for event in saga["events"] if event["type"] == "CancelRequested"]
    assert asked["data"] == {"by": STAFF, "reason": "recall"}
    with pytest.raises(CommandRefused, match="too_late_to_cancel"):
        await bakery.tracker.cancel(SAGA, by=STAFF, reason="again")


async def test_behind_the_pivot_it_is_too_late_to_cancel(bakery: Bakery) -> None:
    await bakery.order()
    await bakery.courier(toy.Carry())

    with pytest.raises(CommandRefused, match="too_late_to_cancel"):
        await bakery.tracker.cancel(SAGA, by=STAFF, reason="recall")
    with pytest.raises(CommandRefused, match="not_found"):
        await bakery.tracker.cancel("nothing", by=STAFF, reason="recall")


# --------------------------------------------------------------------------------------- streams


async def test_a_stream_tells_the_past_then_the_present_and_ends(bakery: Bakery) -> None:
    await bakery.order()
    heard: list[str] = []

    async def listen() -> None:
        async for event in bakery.tracker.events(SAGA):
            heard.append(event["type"])

    listener = asyncio.create_task(listen())
    await asyncio.sleep(0.1)
    assert heard == ["Ordered", "Baked", "Packed"]

    await bakery.courier(toy.Carry(), toy.HandOver())
    await asyncio.wait_for(listener, 5)
    assert heard[3:] == ["Carried", "HandedOver"]


async def test_a_stream_goes_on_where_its_reader_left(bakery: Bakery) -> None:
    await bakery.order()
    await bakery.courier(toy.Carry(), toy.HandOver())
    events = [event async for event in bakery.tracker.events(SAGA)]

    rest = [event async for event in bakery.tracker.events(SAGA, after=events[2]["event_id"])]
    assert rest == events[3:]
    assert [event async for event in bakery.tracker.events(SAGA, after="unknown")] == events
    last = events[-1]["event_id"]
    assert [event async for event in bakery.tracker.events(SAGA, after=last)] == []


async def test_a_stream_also_shows_what_another_instance_heard(bakery: Bakery) -> None:
    await bakery.order()
    other = bakery.new_tracker()
    await other.start()  # it shares the queue: each hears what the other does not

    async def listen(tracker: Tracker) -> list[str]:
        return [event["type"] async for event in tracker.events(SAGA)]

    listeners = [asyncio.create_task(listen(tracker)) for tracker in (bakery.tracker, other)]
    await bakery.courier(toy.Carry(), toy.HandOver())

    for listener in listeners:
        assert (await asyncio.wait_for(listener, 5))[-1] == "HandedOver"
    await other.stop()


async def test_the_past_is_read_on_when_the_store_was_away(
    bakery: Bakery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sums it up begins with it when the process does, be the store there or not."""
    await bakery.order()
    query, outages = MemoryStore.query, 2

    async def away_at_first(store: MemoryStore, collection: str, asked: Query) -> list[Record]:
        nonlocal outages
        if outages:
            outages -= 1
            raise StoreUnavailable("the store is away")
        return await query(store, collection, asked)

    monkeypatch.setattr(MemoryStore, "query", away_at_first)
    assert [saga_id async for saga_id, _ in bakery.tracker.past(0.0)] == [SAGA]
