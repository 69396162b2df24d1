"""The ports: everything the engine needs from outside. The docstrings are the contract.

Each back end of ``Store`` and ``Broker`` passes the same conformance suite
(``tests/conformance``), which quotes these sentences test by test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Protocol, runtime_checkable

from sagas.envelope import Message

__all__ = [
    "Broker",
    "Clock",
    "Collection",
    "Delivery",
    "Ids",
    "Outcome",
    "Query",
    "Record",
    "RemoteBroker",
    "RemoteStore",
    "Scalar",
    "Store",
    "Subscription",
    "Write",
]

Scalar = str | int | float | bool | None


class Clock(Protocol):
    """All time the engine knows. Waiting goes through the event loop, whose time is the same."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch; may jump. For records and people."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait for at least ``seconds``; cancellable."""
        ...


class Ids(Protocol):
    """Makes ids, UUIDv7: time-ordered, since random keys made inserts slower as a table grew."""

    def new(self) -> str: ...

    def random(self) -> float:
        """A float in [0, 1), for jitter."""
        ...


# ---------------------------------------------------------------------------------------- store


@dataclass(frozen=True, slots=True)
class Collection:
    """Where records of one kind live. ``fields`` are the names that queries may use.

    ``indexes`` lists the tuples of fields that a query filters by (equality), in order; the record
    key completes each. ``unique`` names fields whose non-null values no two records may share.
    """

    name: str
    fields: tuple[str, ...] = ()
    indexes: tuple[tuple[str, ...], ...] = ()
    unique: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """A stored document. ``version`` starts at 1 and grows by one with each write."""

    key: str
    version: int
    body: bytes
    outbox: tuple[Message, ...] = ()
    due: float | None = None
    fields: Mapping[str, Scalar] = field(default_factory=dict)
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class Write:
    """The next state of one record.

    ``expected`` is the version that must be stored now (0: the record must not exist); afterwards
    it is ``expected + 1``. ``body`` ``None`` deletes. ``outbox`` is the whole of what is still to
    be published, new events last. ``due`` is the earliest timer, ``expires`` when ``expire`` may
    delete the record (both seconds since the epoch). ``number`` is this write's own in its process:
    a store may know by it one that is committed again.
    """

    collection: str
    key: str
    expected: int
    body: bytes | None
    outbox: tuple[Message, ...] = ()
    due: float | None = None
    fields: Mapping[str, Scalar] = field(default_factory=dict)
    expires: float | None = None
    number: int = field(default_factory=count(1).__next__, init=False, compare=False, repr=False)


class Outcome(Enum):
    """What became of one write."""

    DONE = "done"
    #: Another version is stored: reload and decide again.
    CONFLICT = "conflict"
    #: A unique field has this value in another record already.
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Query:
    """A page of a list. All conditions must hold; every named field is in the collection.

    ``where``: equality (a tuple means any of its values). ``at_least`` / ``at_most``: inclusive
    bounds. ``contains``: the field, a string, contains the text, ignoring ASCII case; the text is
    plain, never a pattern. Sorted by ``sort`` (``None``: by key), then by key, all descending when
    ``descending``. ``after`` is the ``(sort value, key)`` of the last record of the page before
    (``(None, key)`` when sorted by key).
    """

    where: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    at_least: Mapping[str, float | str] = field(default_factory=dict)
    at_most: Mapping[str, float | str] = field(default_factory=dict)
    contains: Mapping[str, str] = field(default_factory=dict)
    sort: str | None = None
    descending: bool = False
    after: tuple[Scalar, str] | None = None
    limit: int = 20


class Store(Protocol):
    """Documents of one service, with optimistic versions.

    *Atomic*: one write changes its record's body, fields, due time and outbox together or not at
    all. Writes of one ``commit`` are independent of each other: some may be done and others
    conflict. *Durable*: what ``commit`` reported done survives a crash of this process or machine.
    *Ordered*: a ``load`` or ``query`` that starts after a ``commit`` returned sees it.
    Every method raises ``StoreUnavailable`` when the store is out of reach (for ``commit`` it is
    then unknown which writes were done), and ``ValueError`` for an unknown collection or field.
    """

    async def open(self, collections: Sequence[Collection]) -> None:
        """Create what is missing (tables, indexes). Safe to repeat, by several processes."""
        ...

    async def load(self, collection: str, keys: Sequence[str]) -> dict[str, Record]:
        """The records that exist among ``keys``. One round trip, whatever their number."""
        ...

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """One outcome per write, in their order. No two writes may name the same record.

        Committed again after ``StoreUnavailable``, a ``Write`` that had been done is ``CONFLICT``,
        or ``DONE`` where the store knows it again.
        """
        ...

    async def query(self, collection: str, query: Query) -> list[Record]:
        """At most ``query.limit`` records, in the asked order."""
        ...

    async def due(self, collection: str, until: float, limit: int) -> list[tuple[float, str]]:
        """``(due, key)`` of records with ``due <= until``, earliest first."""
        ...

    async def pending(self, collection: str, limit: int, after: str | None = None) -> list[Record]:
        """Records whose outbox is not empty, by key, those behind key ``after`` if given.

        After a kill amid ``settle`` there may be some whose outbox is empty: settle those again.
        """
        ...

    async def settle(self, collection: str, sent: Mapping[str, frozenset[str]]) -> None:
        """Take published messages (record key → message ids) out of outboxes.

        With no ids, it takes a record whose outbox is empty out of those that are pending. Does not
        change versions. May leave some in place (a write came between): they are then
        published once more, which the subscribers' inboxes absorb.
        """
        ...

    async def expire(self, collection: str, now: float, limit: int) -> int:
        """Delete at most ``limit`` records with ``expires <= now``; how many went."""
        ...

    async def ping(self) -> None:
        """Return when the store can be read; raise ``StoreUnavailable`` when not."""
        ...

    async def close(self) -> None:
        """Finish commits under way and let go of everything. Safe to repeat."""
        ...


@runtime_checkable
class RemoteStore(Protocol):
    """What a ``Store`` on a server tells beside the port, for metrics."""

    @property
    def round_trips(self) -> int:
        """Commands sent to the server so far."""
        ...


# --------------------------------------------------------------------------------------- broker


@dataclass(slots=True, eq=False)
class Delivery:
    """A message handed to one subscriber, to be acked or rejected exactly once.

    ``message`` is ``None`` when the body could not be decoded: ``raw`` and ``fault`` then say what
    came. A ``fault`` beside a ``message``: the broker has given it up after too many deliveries, it
    is to be kept and not tried. ``redelivered`` counts earlier deliveries that were rejected or
    lost, as far as known.
    """

    message: Message | None
    raw: bytes = b""
    fault: str = ""
    redelivered: int = 0
    tag: object = None


class Subscription(Protocol):
    """One consumer of a participant's queue. Not for use by two tasks at once."""

    async def next(self, limit: int) -> list[Delivery]:
        """At least one and at most ``limit`` deliveries: whatever has gathered.

        Raises ``BrokerUnavailable`` when the connection is lost; call again to go on.
        """
        ...

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """These are stored: never deliver them again (best effort; a repeat may still come)."""
        ...

    def reject(self, deliveries: Sequence[Delivery]) -> None:
        """Hand these back: they will be delivered again, counted as redelivered."""
        ...

    async def close(self) -> None:
        """Stop. What was not acked will be delivered again to whoever subscribes next."""
        ...


class Broker(Protocol):
    """Carries messages to every participant that listens: at least once, in no promised order.

    A queue belongs to a participant and hears topics; several subscriptions to one queue share
    its messages; those published by one call may travel together, to one of them. *Nothing is
    lost*: a published message reaches every queue bound to its topic, even if nobody subscribes at
    the moment.
    """

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None:
        """Declare queues (name → topics; ``*`` hears all) before anything is published.

        While a server is out of reach it returns all the same, and declares them once it is there:
        until then nothing is published. Raises ``SettingError`` for what waiting does not cure: a
        server that refuses us, a queue that exists and differs.
        """
        ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when responsibility for *every* message has passed on.

        A server: when it confirmed. The embedded broker: when every subscriber has acked, so that
        until then the event stays in its producer's outbox. Raises ``BrokerUnavailable``: the
        caller keeps the messages, except those that it names as ``taken``, and publishes them
        again (repeats are allowed).
        """
        ...

    def subscribe(self, queue: str, prefetch: int) -> Subscription:
        """Start to consume: at most ``prefetch`` deliveries are unacked at any time."""
        ...

    async def ping(self) -> None:
        """Return when messages can flow; raise ``BrokerUnavailable`` when not."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""
        ...


@runtime_checkable
class RemoteBroker(Protocol):
    """What a ``Broker`` on a server tells beside the port, for metrics."""

    @property
    def sent(self) -> int:
        """Messages that the server confirmed so far: fewer than events that travel together."""
        ...
