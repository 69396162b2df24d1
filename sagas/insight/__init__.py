"""Insight: the sums of all sagas, by pure reducers in one of two hosts.

    marks_of(entries, plan, business)    what a saga adds to the windows
    row_of(view, plan, business)         what it adds to the sums of open sagas
    sums_of(rows, minutes, now)          the sums of one host; ``merged`` of several

``InProcess`` hosts them in the tracker's process; ``sagas.insight.stream`` on Kafka, in Faust.
"""

from sagas.insight.business import Business, Fact, InFlight
from sagas.insight.inprocess import InProcess
from sagas.insight.marks import marks_of
from sagas.insight.routes import insight_routes
from sagas.insight.rows import row_of
from sagas.insight.sums import merged, sums_of

__all__ = [
    "Business",
    "Fact",
    "InFlight",
    "InProcess",
    "insight_routes",
    "marks_of",
    "merged",
    "row_of",
    "sums_of",
]
