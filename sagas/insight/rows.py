"""Where one saga stands, as far as the sums of all open sagas need it: a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sagas.insight.business import Business
from sagas.insight.marks import facts_in
from sagas.tracker import Entry, Plan, SagaView
from sagas.tracker.picture import look
from sagas.tracker.violations import Violation

__all__ = ["Row", "row_of"]


class Row(NamedTuple):
    """JSON and back: ``Row(*values)``. Moments are seconds since the epoch."""

    status: str
    started_at: float
    ended: bool
    #: Step or undo that owes a report, since when, and until when it had time.
    waiting: tuple[tuple[str, str, float, float], ...]
    #: What of the business is in flight: name → label → amount.
    held: Mapping[str, Mapping[str, int]]
    violations: tuple[Violation, ...]
    last: str

    @property
    def is_open(self) -> bool:
        """Whether it stands in the sums: what has ended in good order is in the windows alone."""
        return not self.ended or self.status == "attention" or bool(self.violations)


def row_of(view: SagaView, plan: Plan, business: Business) -> Row | None:
    """The row of a saga; ``None`` while only events beside the flow were heard."""
    if view.started_at is None:
        return None
    return Row(
        status=view.status.value,
        started_at=view.started_at,
        ended=view.ended,
        waiting=() if view.ended else _waiting(view, plan),
        held={} if view.ended else _held(view.entries, business),
        violations=view.violations,
        last=view.entries[-1].type,
    )


def _waiting(view: SagaView, plan: Plan) -> tuple[tuple[str, str, float, float], ...]:
    found = []
    for place, since, is_undo in look(view.entries, plan).waiting():
        step = plan.steps[place]
        name = (step.compensation or step.name) if is_undo else step.name
        found.append((name, step.participant, since, since + step.deadline_s))
    return tuple(found)


def _held(entries: tuple[Entry, ...], business: Business) -> dict[str, dict[str, Any]]:
    said = {entry.type for entry in entries}
    facts: Mapping[str, Mapping[str, int]] | None = None
    held = {}
    for name, of, since, until in business.flows:
        if since in said and not until & said:
            facts = facts_in(entries) if facts is None else facts
            if figures := facts.get(of):
                held[name] = dict(figures)
    return held
