"""What really is in the stores of a simulated world: what invariants look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sagas.aggregate import Aggregate, StepStatus
from sagas.envelope import Message, event_type
from sagas.flow import Choreography
from sagas.participant import Kind, Participant
from sagas.ports import Outcome, Record, Write
from sagas.tracker import SagaView

__all__ = ["TRACKER", "Truth"]

#: The tracker's process, store and participant are called so.
TRACKER = "tracker"


class Truth:
    """The stores' contents, and every event that was ever written. Nothing here is a process's
    opinion: it is what would be found if everybody stopped now."""

    def __init__(
        self, choreography: Choreography, participants: Sequence[Participant[Any]]
    ) -> None:
        self.choreography = choreography
        #: Ids of the sagas that were asked to start, in the order of the schedule.
        self.saga_ids: list[str] = []
        #: Every event that a commit has stored, by id, in the order of the commits.
        self.written: dict[str, Message] = {}
        self._kinds: dict[tuple[str, str], Kind[Any]] = {}
        self._sagas = {each.name: each.saga for each in participants}
        for participant in participants:
            namespace = participant.name
            if namespace not in {each.name for each in choreography.participants}:
                namespace = TRACKER
            for kind in participant.kinds:
                self._kinds[namespace, kind.name] = kind
        self._documents: dict[tuple[str, str], dict[str, Write]] = {}
        self._read: dict[tuple[str, str, str], tuple[int, Aggregate]] = {}

    # ------------------------------------------------------------------------------- recording

    def record(
        self, namespace: str, writes: Sequence[Write], outcomes: Sequence[Outcome]
    ) -> Iterator[tuple[Write, list[Message]]]:
        """Enter a commit; each write that was done with the events that are new in it."""
        for write, outcome in zip(writes, outcomes, strict=True):
            if outcome is not Outcome.DONE:
                continue
            self._documents.setdefault((namespace, write.collection), {})[write.key] = write
            fresh = [each for each in write.outbox if each.id not in self.written]
            self.written.update((each.id, each) for each in fresh)
            yield write, fresh

    # ----------------------------------------------------------------------------------- looking

    def aggregates(self, participant: str, collection: str) -> dict[str, Aggregate]:
        """Every document of a collection, by key, with what the engine remembers in it."""
        kind = self._kinds[participant, collection]
        found = {}
        for key, write in self._documents.get((participant, collection), {}).items():
            known = self._read.get((participant, collection, key))
            if known is None or known[0] != write.expected:
                assert write.body is not None
                record = Record(key, write.expected + 1, write.body, write.outbox, write.due)
                known = (write.expected, Aggregate.read(kind, record, 0.0))
                self._read[participant, collection, key] = known
            found[key] = known[1]
        return found

    def states(self, participant: str, collection: str | None = None) -> dict[str, Any]:
        """The domain's states, by key (``None``: the saga's own); tombstones are left out."""
        name = collection or self._sagas[participant].name
        return {
            key: aggregate.state
            for key, aggregate in self.aggregates(participant, name).items()
            if aggregate.state is not None
        }

    def everything(self) -> Iterator[tuple[str, str, str, Aggregate]]:
        """Participant, collection, key and document of all there is."""
        for participant, collection in sorted(self._documents):
            for key, aggregate in self.aggregates(participant, collection).items():
                yield participant, collection, key, aggregate

    def events(self, saga_id: str) -> list[Message]:
        """The saga's events in the order of their writes; those for one addressee left out."""
        return [
            message
            for message in self.written.values()
            if message.saga_id == saga_id and message.to is None
        ]

    def ends(self, saga_id: str) -> list[str]:
        """The types of the terminal events that were written, each as often as it was."""
        ends = {event_type(cls) for cls in self._terminal}
        return [message.type for message in self.events(saga_id) if message.type in ends]

    @property
    def _terminal(self) -> tuple[type[Any], ...]:
        return (*self.choreography.completed_by, *self.choreography.compensated_by)

    def completed(self, saga_id: str) -> bool:
        """Whether it came to the good end."""
        good = {event_type(cls) for cls in self.choreography.completed_by}
        return any(end in good for end in self.ends(saga_id))

    def step(self, saga_id: str, participant: str, step: str) -> StepStatus | None:
        """Where a step of this saga stands in its participant's own document."""
        documents = self.aggregates(participant, self._sagas[participant].name)
        return None if saga_id not in documents else documents[saga_id].steps.get(step)

    def views(self) -> Mapping[str, SagaView]:
        """What the tracker shows, by saga."""
        return self.states(TRACKER)
