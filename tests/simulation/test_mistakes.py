"""A world that is itself at fault: its author reads what is wrong, and nothing hangs."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sagas import Choreography, Command, Decision, Event, Participant
from sagas.simulate import Act, Script, Truth, World, invariant, play
from sagas.simulate.cli import main
from sagas.simulate.invariants import Standing
from sagas.simulate.shrink import shrink
from tests.simulation import counting
from tests.simulation.counting import Start, Trip, TripStarted


def _asks(participant: str, command: Command, kind: str | None = None) -> World:
    """The small choreography, with an act of this kind."""

    def draw(chance: random.Random, saga_id: str) -> Script:
        return Script(saga_id, (Act(0.0, participant, saga_id, command, kind),))

    return replace(counting.world, draw=draw, invariants=())


def _told(world: World) -> str:
    result = play(world, world.schedule(0), traced=False)
    assert result.failed
    return "\n".join(result.problems)


START = Start(room="ok", flight="ok")


def test_an_act_of_nobody_is_told() -> None:
    told = _told(_asks("trap", START))
    assert "the client who asks for Start of trap's saga-1 died" in told
    assert "no participant 'trap' runs in this world, but airline, hotel, tracker, trip" in told


def test_an_act_on_a_collection_that_is_not_there_is_told() -> None:
    told = _told(_asks("trip", START, "journeys"))
    assert "trip keeps no 'journeys', but trip" in told


def test_a_command_that_its_participant_does_not_know_is_told() -> None:
    class Begin(Command):
        pass

    told = _told(_asks("trip", Begin()))
    assert "the client who asks for Begin of trip's saga-1 died" in told


def test_a_resource_that_was_left_out_is_told() -> None:
    world = replace(
        counting.world,
        resources=lambda: {"trip": lambda runner: {counting.Diary: counting.Diary()}},
    )
    told = _told(world)
    assert "the start of hotel" in told
    assert "Hotel" in told


def test_resources_that_raise_are_told() -> None:
    def hotels(runner: object) -> dict[type, object]:
        raise RuntimeError("no rooms at all")

    told = _told(replace(counting.world, resources=lambda: {"hotel": hotels}))
    assert "the start of hotel" in told
    assert "no rooms at all" in told


# ----------------------------------------------------------------------- what never comes to rest


class Ping(Event):
    pass


class Pong(Event):
    pass


def _restless() -> World:
    left, right = Participant("left", state=Trip), Participant("right", state=Trip)

    @left.step(on=Start, emits=[TripStarted])
    def begin(command: Start) -> Decision[Trip, TripStarted]:
        started = TripStarted(room=command.room, flight=command.flight)
        return Decision(Trip(status="begun"), started)

    @left.follows(Pong, emits=[Ping])
    def ping(trip: Trip) -> Decision[Trip, Ping]:
        return Decision(trip, Ping())

    @right.follows(TripStarted, Ping, emits=[Pong])
    def pong(trip: Trip | None) -> Decision[Trip | None, Pong]:
        return Decision(trip, Pong())

    choreography = Choreography(
        "restless", [left, right], completed_by=[TripStarted], compensated_by=[]
    )
    draw = _asks("left", START).draw
    return World(choreography=choreography, draw=draw)


def test_a_choreography_that_never_rests_is_found_and_shrunk() -> None:
    world = _restless()
    found = play(world, world.schedule(0), traced=False)
    assert any(problem.startswith("it_comes_to_rest: ") for problem in found.problems)
    shortest = shrink(world, found)
    assert len(shortest.schedule.scripts) == 1
    assert not shortest.schedule.faults


# ------------------------------------------------------------------------------ invariants


class _Truth:
    """Two sagas that end as they are told to, and nothing else."""

    saga_ids = ("a", "b")

    def __init__(self) -> None:
        self.ended = {"a": 0, "b": 0}
        self._looked: set[str] = set()

    def notes_looks(self, places: set[str]) -> None:
        self._looked = places

    def ends(self, saga_id: str) -> int:
        self._looked.add(saga_id)
        return self.ended[saga_id]


@invariant(always=True)
def never_both(truth: Truth) -> Iterator[str]:
    if truth.ends("a") and truth.ends("b"):
        yield "both have ended"


def test_whoever_else_looks_takes_nothing_from_an_invariant() -> None:
    truth = _Truth()
    standing = Standing(truth, [never_both])  # type: ignore[arg-type]
    assert not standing.problems(["a"])
    truth.ends("b")  # as whoever asks whether the world is over does
    truth.ended["a"] = 1
    assert not standing.problems(["a"])
    truth.ended["b"] = 1
    assert standing.problems(["b"]) == ["never_both: both have ended"]


def test_the_first_document_of_a_collection_is_looked_at() -> None:
    @invariant(always=True)
    def there_are_no_rooms(truth: Truth) -> Iterator[str]:
        for participant, _, _, _ in truth.everything():
            if participant == "hotel":
                yield "there is a room"

    world = replace(counting.world, invariants=[there_are_no_rooms])
    result = play(world, world.schedule(0))
    assert "there_are_no_rooms: there is a room" in result.problems
    *_, last = [each for each in result.trace.entries if each.what == "writes"]
    assert last.who == "hotel", "told at the very commit, not at the end"


class _Rooms:
    """No function: an object that is called."""

    def __call__(self, truth: Truth, saga_id: str) -> Iterator[str]:
        yield "there is no room"


def test_an_invariant_may_be_any_callable() -> None:
    world = replace(counting.world, invariants=[invariant(_Rooms())])
    assert "_Rooms: there is no room" in play(world, world.schedule(0), traced=False).problems


class _Kept(Event):
    pass


def test_a_step_without_an_undo_may_not_be_left_done() -> None:
    """Beside the chain that is undone, somebody subscribes to letters, and stays subscribed."""
    mailer = Participant("mailer", state=Trip)

    @mailer.step(on=TripStarted, emits=[_Kept])
    def subscribe(event: TripStarted) -> Decision[Trip, _Kept]:
        return Decision(Trip(status="subscribed"), _Kept())

    flow = counting.choreography
    world = replace(
        counting.world,
        choreography=Choreography(
            "with letters",
            [*flow.participants, mailer],
            completed_by=flow.completed_by,
            compensated_by=flow.compensated_by,
        ),
        draw=_asks("trip", Start(room="full", flight="ok")).draw,
    )
    assert "is compensated, but subscribe is still done" in _told(world)


# ------------------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["--only-sagas", "0"], "--only-sagas is for one seed: name it by --seed"),
        (["--only-faults", "none"], "--only-faults is for one seed"),
        (["--crash", "trip:step:1"], "--crash is for one seed"),
        (["--trace"], "--trace is for one seed"),
        (["--pairs", "5"], "--pairs belongs to --sweep"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(
    arguments: list[str], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tests.simulation.counting:world", *arguments]) == 2
    assert advice in capsys.readouterr().err


def test_a_crash_that_never_came_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    crash = ["--crash", "trip:before-commit:9999"]
    assert main(["tests.simulation.counting:world", "--seed", "1", *crash]) == 0
    assert "trip:before-commit:9999 never came: trip passed" in capsys.readouterr().out


def test_a_declaration_that_is_refused_is_told_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken_flow.py").write_text(
        "from sagas import Participant\n"
        "from pydantic import BaseModel\n"
        "class S(BaseModel): pass\n"
        "p = Participant('p', state=S)\n"
        "@p.follows()\n"
        "def nothing(): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert main(["broken_flow:world"]) == 2
    told = capsys.readouterr().err
    assert "broken_flow.py:5" in told
    assert "Traceback" not in told


def test_chance_from_outside_of_the_world_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tests.simulation.test_mistakes:moody", "--seeds", "1", "--jobs", "1"]) == 1
    told = " ".join(capsys.readouterr().out.split())
    assert "it_is_fine: not in this process" in told
    assert "Played again it held: something takes chance, time or state from outside" in told
    assert "python -m sagas.simulate" not in told, "a command that would not show it again"


HERE = os.getpid()


@invariant
def it_is_fine(truth: Truth) -> Iterator[str]:
    if os.getpid() != HERE:
        yield "not in this process"


moody = replace(counting.world, invariants=[it_is_fine])
