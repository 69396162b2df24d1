"""The tracker: one more participant, which hears every event and shows each saga to people.

Built from any choreography, it knows no word of what that is about::

    tracker = Tracker(choreography, store=store, broker=broker, clock=clock, ids=ids)
    await broker.open(choreography.queues(*tracker.participants))
    await tracker.start()
    app.add_routes(routes(tracker, idempotent))

``plan_of``, ``fold`` and ``SagaView`` are its reducer alone, for another host.
"""

from sagas.tracker.api import routes
from sagas.tracker.dead_letters import DeadLetterView
from sagas.tracker.picture import SagaStatus, StepStatus
from sagas.tracker.plan import Judge, Plan, plan_of
from sagas.tracker.redaction import Redaction
from sagas.tracker.resources import event_resource, saga_resource
from sagas.tracker.timeline import Entry
from sagas.tracker.tracker import Tracker
from sagas.tracker.view import SagaView, concerns_a_saga, fold

__all__ = [
    "DeadLetterView",
    "Entry",
    "Judge",
    "Plan",
    "Redaction",
    "SagaStatus",
    "SagaView",
    "StepStatus",
    "Tracker",
    "concerns_a_saga",
    "event_resource",
    "fold",
    "plan_of",
    "routes",
    "saga_resource",
]
