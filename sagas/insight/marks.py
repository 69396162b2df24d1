"""What one saga adds to the windows: counts by the minute of event time, from its events alone.

    marks_of(entries, plan, business) -> minute → name → count

A plain function of the events in their order of arrival. A window is the sum of the marks of all
sagas, so whoever adds a saga's new marks and takes away its old ones has counted each event once,
however often it came.

*Late* is judged within the saga: an event that is older by ``LATE_S`` than the newest one heard
before it counts as late, in the minute of that newest one, and as nothing else.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final

import orjson

from sagas.insight.business import Business
from sagas.tracker import Entry, Plan
from sagas.tracker.failure import failure_of
from sagas.tracker.picture import Picture, SagaStatus, look
from sagas.tracker.timeline import in_order

__all__ = ["BUCKETS_S", "LATE_S", "MINUTE_S", "Marks", "between", "facts_in", "marks_of", "part"]

MINUTE_S: Final = 60
#: How much older than its saga's newest an event may be and still count in its own minute.
LATE_S: Final = 300.0
#: Upper bounds of the latency histogram; what took longer is in the last, open one.
BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
#: Bytes. Names in forged events may be anything, and a minute's must fit into a record.
LONGEST: Final = 80
#: What would end a part, or take more room in JSON than it has.
_NOT_IN_A_PART: Final = frozenset('|"\\')

Marks = dict[int, dict[str, int]]


def marks_of(entries: Sequence[Entry], plan: Plan, business: Business) -> Marks:
    """The marks of a saga with these events; see above."""
    marks: Marks = {}
    timely = _timely(entries, marks)
    picture = look(timely, plan)
    if picture.started_at is None:
        return {}  # of another choreography, perhaps
    for entry in timely:
        _mark(marks, entry.time, "events")
    _mark(marks, picture.started_at, "started")
    for place, step in enumerate(plan.steps):
        _mark_step(marks, step.name, picture, place)
    finished_at = picture.finished_at
    if finished_at is not None:
        _mark(marks, finished_at, picture.course.value)
        _mark_time(marks, "saga", finished_at - picture.started_at, finished_at)
        if picture.course is SagaStatus.COMPENSATED:
            _mark_failure(marks, timely, picture, business, finished_at)
    return marks


def between(old: Marks, new: Marks) -> Marks:
    """What has to be added to ``old`` to get ``new``."""
    found: Marks = {}
    for minute in old.keys() | new.keys():
        before, after = old.get(minute, {}), new.get(minute, {})
        if before != after:
            change = {
                name: after.get(name, 0) - before.get(name, 0)
                for name in sorted(before.keys() | after.keys())
            }
            found[minute] = {name: count for name, count in change.items() if count}
    return found


def facts_in(entries: Sequence[Entry]) -> dict[str, Mapping[str, int]]:
    """All facts that a saga's events tell, by name: the first event that tells one counts."""
    found: dict[str, Mapping[str, int]] = {}
    for entry in entries:
        if entry.facts:
            for name, figures in orjson.loads(entry.facts).items():
                found.setdefault(name, figures)
    return found


def part(text: str) -> str:
    """A text as a part of a mark's name."""
    sound = (
        each if each.isprintable() and each not in _NOT_IN_A_PART else "_"
        for each in text[:LONGEST]
    )
    return "".join(sound).encode()[:LONGEST].decode(errors="ignore") or "_"


def _timely(entries: Sequence[Entry], marks: Marks) -> list[Entry]:
    newest, timely = 0.0, []
    for entry in entries:
        if newest - entry.time > LATE_S:
            _mark(marks, newest, "late")
        else:
            timely.append(entry)
        newest = max(newest, entry.time)
    return timely


def _mark(marks: Marks, moment: float, name: str, count: int = 1) -> None:
    minute = marks.setdefault(int(moment) // MINUTE_S * MINUTE_S, {})
    minute[name] = minute.get(name, 0) + count


def _mark_time(marks: Marks, what: str, seconds: float, moment: float) -> None:
    seconds = max(seconds, 0.0)
    place = bisect_left(BUCKETS_S, seconds)
    _mark(marks, moment, f"time|{what}|{place}")
    if ms := round(seconds * 1000):
        _mark(marks, moment, f"ms|{what}", ms)


def _mark_step(marks: Marks, name: str, picture: Picture, place: int) -> None:
    step = picture.steps[place]
    reported_at = step.done_at if step.refused_at is None else step.refused_at
    if reported_at is None:
        return
    outcome = "done" if step.refused_at is None else "failed"
    _mark(marks, reported_at, f"step|{name}|{outcome}")
    if step.triggered_at is not None:
        _mark_time(marks, f"step {name}", reported_at - step.triggered_at, reported_at)
    if step.refused_at is None and step.undone_at is not None:
        _mark(marks, step.undone_at, f"step|{name}|compensated")


def _mark_failure(
    marks: Marks, timely: Sequence[Entry], picture: Picture, business: Business, moment: float
) -> None:
    failure = failure_of(in_order(timely), picture)
    if failure is None:
        return
    code = part(failure["code"])
    step = failure["step"]  # none: it began outside
    _mark(marks, moment, f"failed|{'' if step is None else part(step)}|{code}")
    facts = facts_in(timely)
    for name in business.failures_by:
        for label in facts.get(name, ()):
            _mark(marks, moment, f"failed by|{part(name)}|{part(label)}|{code}")
