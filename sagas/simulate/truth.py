"""What really is in the stores of a simulated world: what invariants look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from sagas.aggregate import Aggregate, StepStatus
from sagas.envelope import Message, event_type
from sagas.flow import Choreography
from sagas.kind import Kind
from sagas.participant import Participant
from sagas.ports import Record, Write
from sagas.simulate.schedule import Act
from sagas.tracker import SagaView

__all__ = ["ALL_DOCUMENTS", "ALL_EVENTS", "TRACKER", "Place", "Refused", "Truth"]

#: The tracker's process, store and participant are called so.
TRACKER = "tracker"
#: Something that can be looked at, and change: a saga's events by its id, all events, a
#: participant's collection, all of them, or the refusals.
Place = str | tuple[str, str]
ALL_EVENTS = "*"
ALL_DOCUMENTS = "**"
REFUSALS = "refused"
#: What the engine keeps in a document while something is not settled.
_UNSETTLED = frozenset({"dead", "held", "retries", "attention"})


class Refused(NamedTuple):
    """An act that was refused. ``known``: its document was there when it was asked for."""

    act: Act
    code: str
    known: bool


class Truth:
    """The stores' contents, and every event that was ever written. Nothing here is a process's
    opinion: it is what would be found if everybody stopped now."""

    def __init__(
        self, choreography: Choreography, participants: Sequence[Participant[Any]]
    ) -> None:
        self.choreography = choreography
        #: Ids of the sagas that were asked to start, in the order of the schedule.
        self.saga_ids: list[str] = []
        self._refused: list[Refused] = []
        #: What changed beside the stores since it was last taken.
        self._aside: set[Place] = set()
        self._written: dict[str, Message] = {}
        self._events: dict[str, list[Message]] = {}
        self._said: dict[str, list[tuple[str, str]]] = {}
        self._ends: dict[str, list[str]] = {}
        self._kinds: dict[tuple[str, str], Kind[Any]] = {}
        #: Who has a part in this world.
        self.participants = {each.name for each in participants}
        self._sagas = {each.name: each.saga for each in participants}
        own = {each.name for each in choreography.participants}
        for participant in participants:
            namespace = participant.name if participant.name in own else TRACKER
            for kind in participant.kinds:
                self._kinds[namespace, kind.name] = kind
        self._good = {event_type(cls) for cls in choreography.completed_by}
        self._terminal = self._good | {event_type(cls) for cls in choreography.compensated_by}
        self._documents: dict[tuple[str, str], dict[str, Write]] = {}
        self._read: dict[tuple[str, str, str], tuple[int, Aggregate]] = {}
        #: The documents in which something has a time: a timer, or a retry.
        self._due: dict[tuple[str, str, str], float] = {}
        self._unsent: set[str] = set()
        self._looked: set[Place] = set()

    # ------------------------------------------------------------------------------- recording

    def record(self, place: tuple[str, str], write: Write) -> list[Message]:
        """Enter a write that was done in this collection; the events that are new in it."""
        if place not in self._kinds:
            return []  # the engine's own
        documents = self._documents.get(place)
        if documents is None:
            documents = self._documents[place] = {}
        if write.body is None:
            documents.pop(write.key, None)
        else:
            documents[write.key] = write
        if write.due is not None:
            self._due[*place, write.key] = write.due
        elif self._due:
            self._due.pop((*place, write.key), None)
        fresh = [each for each in write.outbox if each.id not in self._written]
        for message in fresh:
            self._written[message.id] = message
            self._unsent.add(message.id)
            if message.saga_id is not None and message.to is None:
                self._enter(message, message.saga_id)
        return fresh

    def _enter(self, message: Message, saga_id: str) -> None:
        self._events.setdefault(saga_id, []).append(message)
        self._said.setdefault(saga_id, []).append((message.source, message.type))
        if message.type in self._terminal:
            self._ends.setdefault(saga_id, []).append(message.type)

    def sent(self, message_id: str) -> bool:
        """Enter that the broker took an event; whether some commit has stored it."""
        self._unsent.discard(message_id)
        return message_id in self._written

    def refuse(self, refused: Refused) -> None:
        """Enter that an act was refused."""
        self._refused.append(refused)
        self._aside.add(REFUSALS)

    def changed_aside(self) -> set[Place]:
        """Take what changed beside the stores."""
        changed, self._aside = self._aside, set()
        return changed

    def notes_looks(self, places: set[Place]) -> None:
        """Every place that is looked at from here on is added to these."""
        self._looked = places

    # ----------------------------------------------------------------------------------- looking

    @property
    def written(self) -> Mapping[str, Message]:
        """Every event that a commit has stored, by id, in the order of the commits."""
        self._looked.add(ALL_EVENTS)
        return self._written

    @property
    def refused(self) -> Sequence[Refused]:
        """The acts that were refused, in their order."""
        self._looked.add(REFUSALS)
        return self._refused

    def aggregates(self, participant: str, collection: str) -> dict[str, Aggregate]:
        """Every document of a collection, by key, with what the engine remembers in it."""
        place = (participant, collection)
        self._looked.add(place)
        return {key: self._document(place, key) for key in self._documents.get(place, ())}

    def _document(self, place: tuple[str, str], key: str) -> Aggregate:
        write, slot = self._documents[place][key], (*place, key)
        known = self._read.get(slot)
        if known is None or known[0] != write.expected:
            assert write.body is not None
            record = Record(key, write.expected + 1, write.body, write.outbox, write.due)
            known = (write.expected, Aggregate.read(self._kinds[place], record, 0.0))
            self._read[slot] = known
        return known[1]

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
        self._looked.add(ALL_DOCUMENTS)  # those of collections that are still empty, too
        for participant, collection in sorted(self._documents):
            for key, aggregate in self.aggregates(participant, collection).items():
                yield participant, collection, key, aggregate

    def unsettled(self) -> Iterator[tuple[str, str, str, Aggregate]]:
        """Of ``everything``, what has dead letters, held messages, retries, or needs attention."""
        self._looked.add(ALL_DOCUMENTS)
        for place in sorted(self._documents):
            for key, write in self._documents[place].items():
                assert write.body is not None
                if _UNSETTLED & orjson.loads(write.body).keys():
                    yield *place, key, self._document(place, key)

    def is_pending(self, until: float) -> bool:
        """Whether something goes on: an event is to be sent, a timer due by then, or a retry."""
        return bool(self._unsent) or any(
            due <= until or self._is_retried((participant, collection), key)
            for (participant, collection, key), due in self._due.items()
        )

    def _is_retried(self, place: tuple[str, str], key: str) -> bool:
        # Nearly all that has a time is a timer: then there is nothing to read.
        body = self._documents[place][key].body
        return (
            body is not None and b'"retries"' in body and bool(self._document(place, key).retries)
        )

    def is_known(self, participant: str, collection: str | None, key: str) -> bool:
        """Whether there is such a document (``None``: of the saga's own), with a state in it."""
        place = (participant, collection or self._sagas[participant].name)
        self._looked.add(place)
        write = self._documents.get(place, {}).get(key)
        return write is not None and bool(write.fields.get("present"))

    def events(self, saga_id: str) -> Sequence[Message]:
        """The saga's events in the order of their writes; those for one addressee left out."""
        self._looked.add(saga_id)
        return self._events.get(saga_id, [])

    def said(self, saga_id: str) -> Sequence[tuple[str, str]]:
        """Of each of the saga's ``events``: whose it is, and its type."""
        self._looked.add(saga_id)
        return self._said.get(saga_id, [])

    def ends(self, saga_id: str) -> Sequence[str]:
        """The types of the terminal events that were written, each as often as it was."""
        self._looked.add(saga_id)
        return self._ends.get(saga_id, [])

    def completed(self, saga_id: str) -> bool:
        """Whether it came to the good end."""
        return any(end in self._good for end in self.ends(saga_id))

    def step(self, saga_id: str, participant: str, step: str) -> StepStatus | None:
        """Where a step of this saga stands in its participant's own document."""
        place = (participant, self._sagas[participant].name)
        self._looked.add(place)
        if saga_id not in self._documents.get(place, ()):
            return None
        return self._document(place, saga_id).steps.get(step)

    def views(self) -> Mapping[str, SagaView]:
        """What the tracker shows, by saga."""
        return self.states(TRACKER)
