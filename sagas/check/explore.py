"""Visits every state that a model allows, each once, the nearest first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sagas.check.bits import Move
from sagas.check.finding import Happening
from sagas.check.model import Model
from sagas.errors import SagaError

__all__ = ["Explored", "TooManyStates", "explore"]


class TooManyStates(SagaError):
    """The model has more states than may be visited."""


@dataclass(frozen=True, slots=True)
class End:
    """A state that nothing certain leaves. ``ticking``: a timer may still move it on."""

    state: int
    ticking: bool


class Explored:
    """All reachable states, in the order of their distance from the start, and how each is reached.

    Being the first to reach a state, the trace to it is a shortest one.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        #: State → the state before it and the number of the move that led here.
        self.reached: dict[int, tuple[int, int]] = {0: (0, -1)}
        self.ends: list[End] = []
        self.transitions = 0

    @property
    def states(self) -> Iterable[int]:
        """Every state, the nearest first."""
        return self.reached

    def trace(self, state: int, *more: Move) -> tuple[Happening, ...]:
        """What happened on the shortest way to ``state``, and then."""
        told = [move.happening for move in more]
        while (way := self.reached[state])[1] >= 0:
            told.append(self.model.moves[way[1]].happening)
            state = way[0]
        count = len(more)
        return (*reversed(told[count:]), *told[:count])

    def first(self, *of_each: int, without: int = 0) -> int | None:
        """The nearest state with a bit of each of ``of_each`` and none of ``without``."""
        for state in self.reached:
            if not state & without and all(state & each for each in of_each):
                return state
        return None

    def path(self, state: int) -> list[Move]:
        """The moves on the shortest way to ``state``."""
        moves = []
        while (way := self.reached[state])[1] >= 0:
            moves.append(self.model.moves[way[1]])
            state = way[0]
        return moves[::-1]

    def edges(self, moves: Iterable[Move]) -> Iterator[tuple[int, Move]]:
        """Every state in which one of ``moves`` changes something, the nearest first."""
        wanted = list(moves)
        for state in self.reached:
            for move in wanted:
                if move.possible(state) and move.after(state) != state:
                    yield state, move


def explore(model: Model, max_states: int) -> Explored:
    """Visit every state. Raises ``TooManyStates`` beyond ``max_states``."""
    explored = Explored(model)
    reached = explored.reached
    # Plain tuples: this loop is what a check spends its time in.
    moves = [
        (number, move.forbids, move.needs, ~move.clears, move.sets, move.certain, move.timer)
        for number, move in enumerate(model.moves)
    ]
    queue, transitions = [0], 0
    for state in queue:  # it grows while it is read
        held = ticking = False
        for number, forbids, needs, keeps, sets, certain, timer in moves:
            if state & forbids:
                continue
            for need in needs:
                if not state & need:
                    break
            else:
                after = state & keeps | sets
                if after == state:
                    continue
                transitions += 1
                held = held or certain
                ticking = ticking or timer
                if after not in reached:
                    reached[after] = (state, number)
                    queue.append(after)
        if not held:
            explored.ends.append(End(state, ticking))
        if len(queue) > max_states:
            raise TooManyStates(
                f"{model.choreography.name!r} has more than {max_states:,} states; raise the "
                f"limit, or check parts of the choreography by themselves"
            )
    explored.transitions = transitions
    return explored
