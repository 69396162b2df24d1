"""Counters, gauges and histograms in the Prometheus text format."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Protocol, TypeVar

__all__ = ["Counter", "Histogram", "Metrics"]

#: Beyond this many label sets a metric counts under ``other``: labels must not eat the memory.
MAX_SERIES = 1_000
LATENCY_S: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)

Labels = tuple[str, ...]
Reading = float | Mapping[Labels, float]


class _Metric(Protocol):
    def lines(self, name: str) -> Iterator[str]: ...


Kind = TypeVar("Kind", bound=_Metric)


class Counter:
    """Only ever grows."""

    kind = "counter"

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._values: dict[Labels, float] = {}

    def add(self, *values: str, amount: float = 1) -> None:
        """Count ``amount`` under these label values (in the order of the labels)."""
        known = self._values.get(values)
        if known is None:
            values = _bounded(self._values, values)
            known = self._values.get(values, 0.0)
        self._values[values] = known + amount

    def lines(self, name: str) -> Iterator[str]:
        for values, number in list(self._values.items()):
            yield f"{name}{_labels(self._labels, values)} {_number(number)}"


class Gauge:
    """Whatever ``read`` says at the moment: a number, or one per label set."""

    kind = "gauge"

    def __init__(self, labels: Labels, read: Callable[[], Reading]) -> None:
        self._labels = labels
        self._read = read

    def lines(self, name: str) -> Iterator[str]:
        reading = self._read()
        series = reading if isinstance(reading, Mapping) else {(): float(reading)}
        for values, number in list(series.items())[:MAX_SERIES]:
            yield f"{name}{_labels(self._labels, values)} {_number(number)}"


class Tally(Gauge):
    """A counter that is kept elsewhere, read whenever somebody looks."""

    kind = "counter"


class Histogram:
    """How often a value fell below each bound; ``bounds`` ascend."""

    kind = "histogram"

    def __init__(self, labels: Labels, bounds: tuple[float, ...]) -> None:
        self._labels = labels
        self._bounds = bounds
        #: Per label set: a count for each bound and one above all, then the sum.
        self._values: dict[Labels, list[float]] = {}

    def observe(self, value: float, *values: str) -> None:
        """Record one value under these label values."""
        cells = self._values.get(values)
        if cells is None:
            values = _bounded(self._values, values)
            cells = self._values.setdefault(values, [0.0] * (len(self._bounds) + 2))
        cells[bisect_left(self._bounds, value)] += 1
        cells[-1] += value

    def lines(self, name: str) -> Iterator[str]:
        names = (*self._labels, "le")
        for values, cells in list(self._values.items()):
            below = 0.0
            for bound, count in zip((*self._bounds, None), cells, strict=False):
                below += count
                edge = "+Inf" if bound is None else _number(bound)
                yield f"{name}_bucket{_labels(names, (*values, edge))} {_number(below)}"
            yield f"{name}_sum{_labels(self._labels, values)} {_number(cells[-1])}"
            yield f"{name}_count{_labels(self._labels, values)} {_number(below)}"


class Metrics:
    """The metrics of one process, or of one service in it."""

    def __init__(self) -> None:
        self._metrics: dict[str, tuple[str, str, _Metric]] = {}

    def counter(self, name: str, text: str, labels: Labels = ()) -> Counter:
        """A new counter; its name ends in ``_total``."""
        return self._add(name, text, Counter.kind, Counter(labels))

    def gauge(
        self, name: str, text: str, read: Callable[[], Reading], labels: Labels = ()
    ) -> Gauge:
        """A new gauge, read whenever somebody looks."""
        return self._add(name, text, Gauge.kind, Gauge(labels, read))

    def tally(
        self, name: str, text: str, read: Callable[[], Reading], labels: Labels = ()
    ) -> Tally:
        """A new counter of what ``read`` counts; its name ends in ``_total``."""
        return self._add(name, text, Tally.kind, Tally(labels, read))

    def histogram(
        self, name: str, text: str, labels: Labels = (), bounds: tuple[float, ...] = LATENCY_S
    ) -> Histogram:
        """A new histogram; a unit ends its name (``_seconds``)."""
        return self._add(name, text, Histogram.kind, Histogram(labels, bounds))

    def render(self) -> str:
        """Everything, in the text format 0.0.4."""
        lines: list[str] = []
        for name, (text, kind, metric) in self._metrics.items():
            lines += (f"# HELP {name} {_escape(text)}", f"# TYPE {name} {kind}")
            lines += metric.lines(name)
        return "\n".join(lines) + "\n"

    def _add(self, name: str, text: str, kind: str, metric: Kind) -> Kind:
        if name in self._metrics:
            raise ValueError(f"metric {name} exists already; register each name once")
        self._metrics[name] = (text, kind, metric)
        return metric


def _bounded(series: Mapping[Labels, object], values: Labels) -> Labels:
    return values if len(series) < MAX_SERIES else ("other",) * len(values)


def _labels(names: Labels, values: Labels) -> str:
    if not names:
        return ""
    pairs = (
        f'{name}="{_escape(value, quote=True)}"' for name, value in zip(names, values, strict=True)
    )
    return "{" + ",".join(pairs) + "}"


def _escape(text: str, *, quote: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quote else text


def _number(value: float) -> str:
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    return str(int(value)) if value == int(value) else repr(value)
