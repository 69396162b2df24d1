"""What is told of the sums: the resources behind ``/api/insight``. Plain functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sagas.envelope import rfc3339
from sagas.insight.marks import BUCKETS_S, MINUTE_S
from sagas.insight.sums import MOST_LISTED, WINDOWS, Sums
from sagas.tracker import Plan

__all__ = ["failures", "overview", "steps", "stuck", "violations"]

Answer = dict[str, Any]
Counts = Mapping[str, int]


def overview(sums: Sums, plan: Plan, now: float) -> Answer:
    """Where the sagas stand, what is in flight, and how it went in each window."""
    standing = sums["standing"]
    return {
        "type": plan.name,
        "at": rfc3339(now),
        # A moment ago, while partitions of a stream move from one worker to another.
        "as_of": rfc3339(sums.get("as_of", now)),
        "sagas": {
            **{name: standing.get(name, 0) for name in ("running", "compensating", "attention")},
            "stuck": sums["stuck_total"],
        },
        "in_flight": {name: dict(sorted(of.items())) for name, of in sums["in_flight"].items()},
        "violations": sum(sums["violations_total"].values()),
        "events_from_the_future": sums["future"],
        # Of a stream: what was no event, or could not be read here.
        "skipped": dict(sums.get("skipped", {})),
        "last_skipped": list(sums.get("last_skipped", ())),
        "windows": {
            name: _outcomes(sums["windows"][name], _span(size_s, now))
            for name, size_s in WINDOWS.items()
        },
        "series": [
            {"minute": rfc3339(float(minute)), **_of(counts)}
            for minute, counts in sorted(sums["series"].items(), key=lambda pair: int(pair[0]))
        ],
    }


def steps(sums: Sums, plan: Plan, now: float) -> Answer:
    """Each step's outcomes and latencies, in each window."""
    return _windowed(sums, now, lambda counts: {"steps": list(_steps(counts, plan))})


def failures(sums: Sums, plan: Plan, now: float) -> Answer:
    """Why sagas were compensated: by step and code, and by what the business tells them apart."""

    def told(counts: Counts) -> Answer:
        ended = counts.get("completed", 0) + counts.get("compensated", 0)
        by_code = [
            {"step": step or None, "code": code, "count": count, "rate": _rate(count, ended)}
            for (step, code), count in _named(counts, "failed")[:MOST_LISTED]
        ]
        by: dict[str, list[Answer]] = {}
        for (name, label, code), count in _named(counts, "failed by"):
            found = by.setdefault(name, [])
            if len(found) < MOST_LISTED:
                found.append({name: label, "code": code, "count": count})
        return {"ended": ended, "by_code": by_code, "by": by}

    return _windowed(sums, now, told)


def stuck(sums: Sums, limit: int) -> Answer:
    """Sagas of which a step, or an undo, has not reported in time; the longest first."""
    return {
        "items": sums["stuck"][:limit],
        "next_cursor": None,
        "total": sums["stuck_total"],
    }


def violations(sums: Sums, limit: int) -> Answer:
    """What the choreography does not allow, or whose cause has not come; the newest first."""
    return {
        "items": sums["violations"][:limit],
        "next_cursor": None,
        "total": sum(sums["violations_total"].values()),
        "by_code": dict(sorted(sums["violations_total"].items())),
    }


def _windowed(sums: Sums, now: float, told: Any) -> Answer:
    return {
        "at": rfc3339(now),
        "windows": {
            name: {**_from(_span(size_s, now)), **told(sums["windows"][name])}
            for name, size_s in WINDOWS.items()
        },
    }


def _span(size_s: int, now: float) -> tuple[float, float]:
    return (float(int(now) // MINUTE_S * MINUTE_S - size_s), now)


def _from(span: tuple[float, float]) -> Answer:
    return {"from": rfc3339(span[0]), "to": rfc3339(span[1])}


def _of(counts: Counts) -> dict[str, int]:
    return {name: counts.get(name, 0) for name in ("events", "started", "completed", "compensated")}


def _outcomes(counts: Counts, span: tuple[float, float]) -> Answer:
    ended = counts.get("completed", 0) + counts.get("compensated", 0)
    seconds = span[1] - span[0]
    return {
        **_from(span),
        **_of(counts),
        "late_events": counts.get("late", 0),
        "started_per_s": round(counts.get("started", 0) / seconds, 3),
        "completed_rate": _rate(counts.get("completed", 0), ended),
        "duration": _times(counts, "saga"),
    }


def _steps(counts: Counts, plan: Plan) -> Iterator[Answer]:
    for step in plan.steps:
        outcomes = {
            name: counts.get(f"step|{step.name}|{name}", 0)
            for name in ("done", "failed", "compensated")
        }
        reported = outcomes["done"] + outcomes["failed"]
        yield {
            "step": step.name,
            "participant": step.participant,
            **outcomes,
            "failure_rate": _rate(outcomes["failed"], reported),
            "latency": _times(counts, f"step {step.name}"),
        }


def _times(counts: Counts, what: str) -> Answer | None:
    """A histogram in words; quantiles are upper bounds of the bucket that they fall into."""
    buckets = [counts.get(f"time|{what}|{place}", 0) for place in range(len(BUCKETS_S) + 1)]
    total = sum(buckets)
    if total <= 0:
        return None
    bounds: list[float | None] = [*BUCKETS_S, None]
    return {
        "count": total,
        "mean_ms": round(counts.get(f"ms|{what}", 0) / total, 1),
        **{f"p{part}_s_at_most": _quantile(buckets, bounds, part) for part in (50, 95, 99)},
        "buckets": [
            {"up_to_s": bound, "count": count} for bound, count in zip(bounds, buckets, strict=True)
        ],
    }


def _quantile(buckets: list[int], bounds: list[float | None], part: int) -> float | None:
    wanted, seen = sum(buckets) * part / 100, 0
    for bound, count in zip(bounds, buckets, strict=True):
        seen += count
        if seen >= wanted:
            return bound
    return None


def _named(counts: Counts, kind: str) -> list[tuple[tuple[str, ...], int]]:
    """Marks of one kind, the most frequent first."""
    found = [
        (tuple(name.split("|")[1:]), count)
        for name, count in counts.items()
        if name.startswith(f"{kind}|")
    ]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def _rate(count: int, of: int) -> float | None:
    return round(count / of, 4) if of else None
