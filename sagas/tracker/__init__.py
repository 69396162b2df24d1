"""The tracker: one more participant, which hears every event and shows each saga to people.

Built from any choreography, it knows no word of what that is about::

    tracker = Tracker(choreography, store=store, broker=broker, clock=clock, ids=ids)
    await broker.open(choreography.queues(*tracker.participants))
    await tracker.start()
    app.add_routes(routes(tracker, idempotent))

``plan_of``, ``fold``, ``review`` and ``SagaView`` are its reducer alone, for another host;
``Conformance`` is what holds the events of a saga against the choreography.
"""

from sagas.tracker.api import routes
from sagas.tracker.conformance import Conformance, Judgement
from sagas.tracker.dead_letters import DeadLetterView
from sagas.tracker.picture import SagaStatus, StepStatus
from sagas.tracker.plan import Judge, Plan, plan_of
from sagas.tracker.redaction import Redaction
from sagas.tracker.resources import event_resource, saga_resource
from sagas.tracker.timeline import Entry
from sagas.tracker.tracker import Tracker
from sagas.tracker.view import SagaView, concerns_a_saga, confirm_by, fold, news, review
from sagas.tracker.violations import BREACHES, Breach, Violation

__all__ = [
    "BREACHES",
    "Breach",
    "Conformance",
    "DeadLetterView",
    "Entry",
    "Judge",
    "Judgement",
    "Plan",
    "Redaction",
    "SagaStatus",
    "SagaView",
    "StepStatus",
    "Tracker",
    "Violation",
    "concerns_a_saga",
    "confirm_by",
    "event_resource",
    "fold",
    "news",
    "plan_of",
    "review",
    "routes",
    "saga_resource",
]
