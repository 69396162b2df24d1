"""The model follows the engine's rules, and exploring is exhaustive, bounded and repeatable."""

from __future__ import annotations

from pathlib import Path

import pytest

from participants.choreography import shop
from sagas import Choreography, Decision, DeclarationError, Event, Participant
from sagas.check import Model, Never, TooManyStates, check, explore
from sagas.check.emissions import may_repeat, outcomes, refusing
from sagas.reaction import Reaction
from tests.check.stories import cancellable
from tests.check.town import (
    CancelAsked,
    Departed,
    Extra,
    FlightBooked,
    FlightRefused,
    Note,
    RoomBooked,
    RoomFreed,
    RoomRefused,
    Start,
    TowerReport,
    TripCancelled,
    TripStarted,
    airline,
    desk,
    follow,
    hotel,
    journey,
    step,
)


def _explored(model: Model) -> list[dict[str, str]]:
    return [model.statuses(state) for state in explore(model, 10_000).states]


def test_effect_and_write_are_two_moves() -> None:
    states = _explored(Model(journey(desk(), hotel(), airline()).choreography))
    assert any(state["book_room"] == "effect" for state in states)
    assert not any(state["start_trip"] == "effect" for state in states), "it only decides"


def test_the_effect_and_the_write_of_an_undo_are_two_moves_as_well() -> None:
    model = Model(cancellable().choreography)
    flight = model.by_name["book_flight"]
    found = {
        state & (flight.undoing | flight.effect | flight.done)
        for state in explore(model, 10_000).states
    }
    # The seat was booked, is about to be, or never was; giving it back comes first or behind.
    assert {flight.undoing | more for more in (0, flight.effect, flight.done)} <= found


def test_what_an_undo_has_voided_takes_no_effect_and_is_not_reported_on() -> None:
    model = Model(cancellable().choreography)
    flight, tower = model.by_name["book_flight"], model.by_name["depart"]
    for state, move in explore(model, 10_000).edges(model.moves):
        if state & flight.undoing:
            assert not move.sets & (flight.effect | tower.report), move.happening


def test_a_step_may_still_be_written_between_its_undo_and_the_write_of_that() -> None:
    rule = Never(FlightBooked, after="cancel_flight")
    (finding,) = check(cancellable().choreography, rules=[rule]).findings
    told = [str(each) for each in finding.trace[-3:]]
    assert told == [
        "airline.book_flight has its effect, not written yet",
        "airline.cancel_flight has its effect, not written yet",
        "airline.book_flight is written → FlightBooked",
    ]


def test_an_undo_that_comes_first_leaves_a_tombstone_and_the_step_never_runs() -> None:
    model = Model(cancellable().choreography)
    bits = model.by_name["book_flight"]
    explored = explore(model, 10_000)
    buried = [state for state in explored.states if state & bits.tombstone]
    assert buried
    for move in model.moves:
        for state in buried:
            if move.possible(state):
                assert not move.after(state) & (bits.done | bits.effect)


def test_a_step_that_refused_is_not_undone() -> None:
    model = Model(cancellable().choreography)
    bits = model.by_name["book_flight"]
    for state in explore(model, 10_000).states:
        if state & bits.refused:
            assert not state & (bits.undone | bits.tombstone | bits.undo_ran)


def test_an_undo_refuses_only_past_the_pivot() -> None:
    model = Model(cancellable().choreography)
    cancelled = model.by_name["book_flight"]
    for state in explore(model, 10_000).states:
        assert not (state & cancelled.went_back and state & model.passed)


def test_every_trace_can_be_replayed_to_its_state() -> None:
    model = Model(shop)
    explored = explore(model, 10_000)
    for state in explored.states:
        here = 0
        for move in explored.path(state):
            assert move.possible(here)
            here = move.after(here)
        assert here == state
        assert len(explored.trace(state)) == len(explored.path(state))


def test_two_checks_say_the_same() -> None:
    first, second = (check(cancellable(at_once=True).choreography) for _ in range(2))
    assert first.findings
    assert [each.trace for each in first.findings] == [each.trace for each in second.findings]


def test_too_many_states_are_said_clearly() -> None:
    with pytest.raises(TooManyStates, match="more than 50 states; raise the limit"):
        check(shop, max_states=50)


def test_a_rule_that_names_nothing_is_said_clearly() -> None:
    with pytest.raises(DeclarationError, match="'leave', which is no step or undo"):
        check(shop, rules=[Never("leave", after="refund_payment")])
    with pytest.raises(ValueError, match="either `after` or `before`"):
        Never("depart")


@pytest.mark.parametrize("event", [TowerReport, Extra])
def test_a_rule_that_could_never_be_broken_is_said_clearly(event: type[Event]) -> None:
    """A private report has no name of its own in the flow, and nobody here says the other one."""
    told = cancellable()
    with pytest.raises(DeclarationError, match=f"names {event.__name__}, which nobody .* hears"):
        check(told.choreography, rules=[Never(event, after="free_room")])


def test_a_rule_may_name_events() -> None:
    told = cancellable(at_once=True)
    kept = check(told.choreography, rules=[Never(FlightBooked, before=CancelAsked)])
    assert "SAGA304" in {finding.code for finding in kept.findings}


def test_what_concerns_no_reaction_is_found_where_the_flow_was_put_together() -> None:
    people = Participant("people", state=Note)
    step(people, "leave", on=Start, emits=[Departed], effect=False)
    follow(people, "regret", Departed, emits=[TripCancelled])
    flow = Choreography(
        "leaving", [people], completed_by=[Departed], compensated_by=[TripCancelled]
    )
    (finding,) = check(flow).findings
    assert (finding.code, finding.subject) == ("SAGA301", "leaving")
    assert finding.place is not None
    assert finding.place.file == __file__
    assert "flow = Choreography(" in Path(__file__).read_text().splitlines()[finding.place.line - 1]


def test_a_follower_may_answer_a_report_from_outside() -> None:
    grounded = airline()
    follow(grounded, "hear_the_tower", TowerReport, emits=[Extra])
    story = journey(desk(), hotel(undone_on=[FlightRefused, Extra]), grounded)
    model = Model(story.choreography)
    explored = explore(model, 10_000)
    freed = explored.first(model.events["Extra"], without=model.events["FlightRefused"])
    assert freed is not None
    told = [happening.reaction for happening in explored.trace(freed)]
    assert told.index("book_flight") < told.index("tower") < told.index("hear_the_tower")


# ------------------------------------------------------------------------------------- loose


def _declared() -> dict[str, Reaction]:
    """Reactions whose code tells more, or less, than their declaration."""
    who = Participant("agent", state=Note)

    @who.step(on=TripStarted, emits=[RoomBooked, RoomFreed], refuses=[RoomRefused])
    def choose(event: TripStarted) -> Decision[Note, RoomBooked | RoomFreed | RoomRefused]:
        if event is None:
            return Decision(Note())
        return Decision(Note(), RoomBooked())

    @who.follows(RoomBooked, emits=[FlightBooked, Extra])
    def say_both(event: RoomBooked) -> Decision[Note, FlightBooked | Extra]:
        return Decision(Note(), FlightBooked(), Extra())

    @who.follows(RoomFreed, emits=[FlightBooked, Extra])
    def say_whatever(event: RoomFreed) -> Decision[Note, FlightBooked | Extra]:
        said = [FlightBooked(), Extra(), Extra()]
        return Decision(Note(), *said)

    return {reaction.name: reaction for reaction in who.reactions()}


def test_a_loose_outcome_is_all_that_the_code_leaves_open() -> None:
    declared = _declared()
    assert outcomes(declared["choose"], loose=True) == [(), (RoomBooked,), (RoomFreed,)]
    assert refusing(declared["choose"], loose=True) == [(RoomRefused,)]
    assert not may_repeat(declared["choose"])
    both = [(FlightBooked,), (Extra,), (FlightBooked, Extra)]
    assert outcomes(declared["say_both"], loose=True) == both
    assert outcomes(declared["say_whatever"], loose=True) == [(), *both]
    assert may_repeat(declared["say_whatever"])


def test_a_loose_model_allows_all_that_the_strict_one_does_and_silence() -> None:
    choreography = cancellable().choreography
    strict, loose = Model(choreography), Model(choreography, loose=True)
    seen = {frozenset(each.items()) for each in _explored(strict)}
    assert seen <= {frozenset(each.items()) for each in _explored(loose)}
    silent = explore(loose, 10_000).first(
        loose.by_name["book_room"].done, without=loose.events["RoomBooked"]
    )
    assert silent is not None
