"""Where a saga stands, derived from the events heard so far: a function of their set alone.

Nothing is remembered from one event to the next, so neither the order of arrival nor a repeat can
matter; a saga has few events, which makes looking at all of them cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import orjson

from sagas.envelope import event_type
from sagas.events import (
    AttentionNeeded,
    AttentionResolved,
    DeadLettered,
    DeadLetterResolved,
    StepRetrying,
)
from sagas.tracker.plan import Plan, StepPlan
from sagas.tracker.progress import Progress, earlier
from sagas.tracker.shapes import SagaStatus, StepStatus
from sagas.tracker.timeline import Entry

__all__ = ["Picture", "SagaStatus", "StepStatus", "look"]


ENDED = (SagaStatus.COMPLETED, SagaStatus.COMPENSATED)

_RETRYING = event_type(StepRetrying)
_NEEDED, _SETTLED = event_type(AttentionNeeded), event_type(AttentionResolved)
_DEAD, _RESOLVED = event_type(DeadLettered), event_type(DeadLetterResolved)
_TROUBLE = frozenset({_RETRYING, _NEEDED, _SETTLED, _DEAD, _RESOLVED})


@dataclass(slots=True)
class Picture:
    """The progress of every step, and the saga's own marks. Moments are the events' times."""

    plan: Plan
    steps: list[Progress]
    #: The first event of the flow; ``None``: only events beside it were heard, it is no saga yet.
    started_at: float | None = None
    updated_at: float = 0.0
    completed_at: float | None = None
    compensated_at: float | None = None
    #: A person is needed.
    attention: bool = False
    #: Where the saga stands, a person's help left aside.
    course: SagaStatus = SagaStatus.RUNNING
    retries: dict[str, int] = field(default_factory=dict)

    @property
    def status(self) -> SagaStatus:
        return SagaStatus.ATTENTION if self.attention else self.course

    @property
    def ended(self) -> bool:
        return self.course in ENDED

    @property
    def past_the_pivot(self) -> bool:
        """From there on the saga only goes forward; a later step's report tells as well."""
        place = self.plan.pivot
        if place is None:
            return False
        return self.steps[place].done_at is not None or any(
            step.done_at is not None or step.refused_at is not None
            for step in self.steps[place + 1 :]
        )

    @property
    def late_at(self) -> float | None:
        """When the first step, or undo, that is still to report will be overdue."""
        if self.ended:
            return None
        steps = self.plan.steps
        return min(
            (since + steps[place].deadline_s for place, since, _ in self.waiting()), default=None
        )

    def waiting(self) -> Iterator[tuple[int, float, bool]]:
        """Each step that owes a report, since when, and whether it is its undo that does."""
        for place, progress in enumerate(self.steps):
            since = _waiting_since(progress)
            if since is not None:
                yield place, since, progress.asked_at is not None

    @property
    def finished_at(self) -> float | None:
        """When the last thing happened that the end asks for."""
        if self.course is SagaStatus.COMPLETED:
            return self.completed_at
        if self.course is not SagaStatus.COMPENSATED or self.compensated_at is None:
            return None
        undone = [step.undone_at for step in self.steps if step.undone_at is not None]
        return max((self.compensated_at, *undone))

    def step_status(self, place: int) -> StepStatus:
        """How people see one step."""
        step = self.steps[place]
        if step.refused_at is not None:
            return StepStatus.FAILED
        if step.done_at is not None:
            if step.undone_at is not None:
                return StepStatus.COMPENSATED
            return StepStatus.DONE if step.asked_at is None else StepStatus.COMPENSATING
        # Undone without having been done: a tombstone. It counts as done if that is heard later.
        skipped = step.undone_at is not None or self.ended
        return StepStatus.SKIPPED if skipped else StepStatus.PENDING


def look(entries: Sequence[Entry], plan: Plan) -> Picture:
    """Read all events of a saga."""
    steps = [Progress() for _ in plan.steps]
    picture = Picture(plan, steps)
    started, updated, troubles = None, 0.0, []
    for entry in entries:
        moment, type_ = entry.time, entry.type
        said = plan.said(entry.participant, type_)
        for meaning, place in said:
            meaning(steps[place], entry)
        if type_ in plan.completing:
            picture.completed_at = earlier(picture.completed_at, moment)
        elif type_ in plan.compensating:
            picture.compensated_at = earlier(picture.compensated_at, moment)
        elif not said:
            if type_ in _TROUBLE:
                troubles.append(entry)
            updated = max(updated, moment)
            continue
        if started is None or moment < started:
            started = moment
        updated = max(updated, moment)
    picture.started_at, picture.updated_at = started, updated
    picture.course = _course(picture)
    if troubles:
        _enter_troubles(picture, troubles)
    both_ends = picture.completed_at is not None and picture.compensated_at is not None
    picture.attention = picture.attention or both_ends
    return picture


def _course(picture: Picture) -> SagaStatus:
    if picture.completed_at is not None:
        return SagaStatus.COMPLETED
    if picture.compensated_at is not None:
        too_late = picture.past_the_pivot
        settled = all(
            _is_settled(step, progress, too_late)
            for step, progress in zip(picture.plan.steps, picture.steps, strict=True)
        )
        return SagaStatus.COMPENSATED if settled else SagaStatus.COMPENSATING
    for step in picture.steps:
        if step.undone_at is not None or (step.asked and step.asked_at is not None):
            return SagaStatus.COMPENSATING
    return SagaStatus.RUNNING


def _is_settled(step: StepPlan, progress: Progress, too_late: bool) -> bool:
    """Whether nothing of this step is left that has to be undone."""
    if progress.done_at is None or progress.undone_at is not None:
        return True
    # Behind the pivot an undo that may refuse would do so: what it was for has left the house.
    return progress.kept or step.compensation is None or (too_late and step.may_stay)


def _waiting_since(step: Progress) -> float | None:
    """Since when the step's participant, or its undo, owes a report."""
    if step.undone_at is not None:
        return None
    if step.asked and (asked_at := step.asked_at) is not None:
        return asked_at
    if step.done_at is not None or step.refused_at is not None:
        return None
    return step.triggered_at


def _enter_troubles(picture: Picture, troubles: Iterable[Entry]) -> None:
    """The engine's own events: rare, so only here is their data read."""
    dead, resolved = set[str](), set[str]()
    needed: dict[tuple[str, str], tuple[float, int]] = {}
    settled: dict[tuple[str, str], tuple[float, int]] = {}
    for entry in troubles:
        said = orjson.loads(entry.data)
        step = said.get("step", "")
        if entry.type == _DEAD:
            dead.add(said.get("dead_letter_id", entry.id))
        elif entry.type == _RESOLVED:
            resolved.add(said.get("dead_letter_id", entry.id))
        elif entry.type == _RETRYING:
            picture.retries[step] = max(said.get("attempt", 0), picture.retries.get(step, 0))
        else:
            marks = needed if entry.type == _NEEDED else settled
            place, order = (said.get("participant", ""), step), (entry.time, entry.sequence)
            marks[place] = max(order, marks.get(place, order))
    # Needed again after it was settled is needed; and so, to be safe, at the same moment.
    picture.attention = bool(dead - resolved) or any(
        place not in settled or settled[place] <= order for place, order in needed.items()
    )
