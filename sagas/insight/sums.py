"""The sums of many sagas: open ones by where they stand, and windows by event time.

    sums_of(rows, minutes, now) -> Sums        of one host, or of its share of the stream
    merged([sums, …]) -> Sums                  of all shares

Plain functions; ``Sums`` is JSON, since shares are held by several processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sagas.envelope import rfc3339
from sagas.insight.marks import MINUTE_S
from sagas.insight.rows import Row

__all__ = ["KEPT_S", "MOST_LISTED", "MOST_NAMES", "WINDOWS", "Sums", "add", "merged", "sums_of"]

Sums = dict[str, Any]

#: Name → seconds. Each ends with the minute that is being filled and begins so long before it.
WINDOWS: Final = {"1m": 60, "1h": 3_600, "1d": 86_400}
#: For how long minutes are kept, behind the newest one.
KEPT_S: Final = 86_400 + 600
#: How many minutes charts are given.
SERIES_S: Final = 3_600
SERIES: Final = ("events", "started", "completed", "compensated")
#: Lists show so many; how many there are is told beside them.
MOST_LISTED: Final = 100
#: Names in one minute. Codes and labels of forged events are whatever somebody likes.
MOST_NAMES: Final = 2_000
#: And in a window, which has many minutes.
MOST_NAMES_IN_ALL: Final = 20_000
OTHER: Final = "other"


def add(counts: dict[str, int], change: Mapping[str, int], most: int = MOST_NAMES) -> None:
    """Add a change to the counts of a minute, in place; what comes to nothing leaves."""
    for name, count in change.items():
        if name not in counts and len(counts) >= most:
            name = OTHER
        total = counts.get(name, 0) + count
        if total:
            counts[name] = total
        else:
            counts.pop(name, None)


def sums_of(
    rows: Iterable[tuple[str, Row]], minutes: Iterable[tuple[int, Mapping[str, int]]], now: float
) -> Sums:
    """The sums of one share at ``now``."""
    standing: Counter[str] = Counter()
    held: dict[str, Counter[str]] = {}
    stuck: list[dict[str, Any]] = []
    violations: list[dict[str, Any]] = []
    for saga_id, row in rows:
        if not row.is_open:
            continue
        if not row.ended or row.status == "attention":
            standing[row.status] += 1
        for name, figures in row.held.items():
            held.setdefault(name, Counter()).update(figures)
        stuck += _overdue(saga_id, row, now)
        violations += [{"saga_id": saga_id, **each} for each in row.violations]
    codes = Counter(each["code"] for each in violations)
    return {
        "standing": dict(standing),
        "in_flight": {name: dict(figures) for name, figures in held.items()},
        "stuck_total": len({each["saga_id"] for each in stuck}),
        "stuck": _longest(stuck),
        "violations_total": dict(codes),
        "violations": _newest(violations),
        **_windows(minutes, now),
    }


def merged(shares: Iterable[Sums]) -> Sums:
    """The sums of all shares together; of none: nothing at all."""
    whole: Sums = sums_of((), (), 0.0)
    for share in shares:
        for name in ("standing", "violations_total"):
            whole[name] = _plus(whole[name], share[name])
        for name in ("in_flight", "windows", "series"):
            for key, counts in share[name].items():
                whole[name][key] = _plus(whole[name].get(key, {}), counts)
        whole["stuck_total"] += share["stuck_total"]
        whole["future"] += share["future"]
        whole["stuck"] = _longest([*whole["stuck"], *share["stuck"]])
        whole["violations"] = _newest([*whole["violations"], *share["violations"]])
    return whole


def _plus(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}


def _overdue(saga_id: str, row: Row, now: float) -> Iterator[dict[str, Any]]:
    for step, participant, since, due in row.waiting:
        if due <= now:
            yield {
                "saga_id": saga_id,
                "status": row.status,
                "step": step,
                "participant": participant,
                "since": rfc3339(since),
                "due": rfc3339(due),
                "last_event": row.last,
            }


def _longest(stuck: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(stuck, key=lambda each: (each["due"], each["saga_id"], each["step"]))[
        :MOST_LISTED
    ]


def _newest(violations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    def age(each: dict[str, Any]) -> tuple[str, str, str]:
        return (each["event"]["occurred_at"], each["event"]["event_id"], each["code"])

    return sorted(violations, key=age, reverse=True)[:MOST_LISTED]


def _windows(minutes: Iterable[tuple[int, Mapping[str, int]]], now: float) -> dict[str, Any]:
    current = int(now) // MINUTE_S * MINUTE_S
    windows: dict[str, dict[str, int]] = {name: {} for name in WINDOWS}
    series: dict[str, dict[str, int]] = {}
    future = 0
    for minute, counts in minutes:
        if minute > current:
            # A clock that is ahead, or a forged time: told, and in no window yet.
            future += counts.get("events", 0)
            continue
        for name, size_s in WINDOWS.items():
            if minute >= current - size_s:
                add(windows[name], counts, MOST_NAMES_IN_ALL)
        if minute >= current - SERIES_S:
            shown = {name: counts[name] for name in SERIES if name in counts}
            key = str(minute)
            series[key] = _plus(series.get(key, {}), shown)
    return {"windows": windows, "series": series, "future": future}
