"""Who watches a simulated world: enters what is written and published, and asks what must hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sagas.envelope import Message
from sagas.ports import Outcome, Write
from sagas.simulate.invariants import Invariant, Standing
from sagas.simulate.loop import WorldLoop
from sagas.simulate.trace import Entry, Trace
from sagas.simulate.truth import ALL_DOCUMENTS, ALL_EVENTS, Place, Truth

__all__ = ["WORLD", "Watch"]

#: A world that writes so often for each of its sagas goes round in circles.
MOST_COMMITS = 500
#: Whoever is no process: clients, and the judge.
WORLD = "world"


class Watch:
    """``truth``, ``trace`` and ``problems`` of one world; ``alarm`` is called at the first problem.

    Without ``traced`` the trace stays empty: nine worlds of ten are never looked at.
    """

    def __init__(
        self,
        truth: Truth,
        trace: Trace,
        invariants: Sequence[Invariant],
        loop: WorldLoop,
        *,
        traced: bool,
        alarm: Callable[[], None],
    ) -> None:
        self.truth = truth
        self.trace = trace
        self.traced = traced
        self.problems: list[str] = []
        self._invariants = invariants
        self._standing = Standing(truth, [each for each in invariants if each.always])
        self._loop = loop
        self._alarm = alarm
        self._commits = 0

    def note(self, who: str, what: str, *details: object) -> None:
        if self.traced:
            self.trace.entries.append(Entry(self._loop.now, who, what, details))

    def problem(self, problem: str) -> None:
        """Something is wrong. The same is told once."""
        for key, name in self.trace.names.items():
            problem = problem.replace(key, name)
        if problem not in self.problems:
            self.problems.append(problem)
            self.note(WORLD, "WRONG", problem)
            self._alarm()

    def died(self, what: str, error: BaseException) -> None:
        """Something ended with an exception that should never end so."""
        self.problem(f"nothing_dies: {what} died of {error!r}")

    def written(
        self, who: str, namespace: str, writes: Sequence[Write], outcomes: Sequence[Outcome]
    ) -> None:
        """A commit was made."""
        changed: dict[Place, None] = {}
        for write, outcome in zip(writes, outcomes, strict=True):
            fresh: Sequence[Message] = ()
            if outcome is Outcome.DONE:
                place = (namespace, write.collection)
                fresh = self.truth.record(place, write)
                changed[place] = changed[ALL_DOCUMENTS] = None
                for each in fresh:
                    changed[each.saga_id or ALL_EVENTS] = changed[ALL_EVENTS] = None
            if self.traced:
                self._tell(who, write, outcome, fresh)
        changed.update(dict.fromkeys(self.truth.changed_aside()))
        for problem in self._standing.problems(changed):
            self.problem(problem)
        self._commits += 1
        if self._commits == MOST_COMMITS * max(len(self.truth.saga_ids), 1):
            self.problem(f"it_comes_to_rest: {self._commits:,} commits, and no end")

    def _tell(self, who: str, write: Write, outcome: Outcome, fresh: Sequence[Message]) -> None:
        place = f"{write.collection}/"
        if outcome is Outcome.DONE:
            types = (each.type for each in fresh)
            self.note(who, "writes", place, write.key, f"v{write.expected + 1}", *types)
        else:
            self.note(who, outcome.value, place, write.key)

    def published(self, message: Message) -> None:
        """The broker took an event."""
        if self.traced:
            source = message.source.removeprefix("/")
            self.note(source, "publishes", message.type, message.subject)
        if not self.truth.sent(message.id):
            event = f"{message.type} of {message.subject}"
            self.problem(f"nothing_leaves_unwritten: {event} was published, but never written")

    @property
    def is_well(self) -> bool:
        """Whether everything would hold if the world ended now."""
        return not any(each.problems(self.truth) for each in self._invariants)

    def check_end(self) -> None:
        """Everything is over: now all invariants have to hold."""
        for each in self._invariants:
            for problem in each.problems(self.truth):
                self.problem(problem)
