"""What travels: events, and the CloudEvents 1.0 envelope around each.

An *event* is any frozen pydantic model. Its wire name is ``event_type`` (default: the class name)
and its version ``event_version`` (default 1). ``Event`` is a convenient base; the engine only looks
at these attributes, so contracts need not import the engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, ClassVar, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from sagas.errors import ContractBroken, Undecodable, UnknownVersion

__all__ = [
    "Command",
    "Event",
    "Message",
    "attributes_of",
    "decode",
    "described",
    "encode",
    "event_type",
    "event_version",
    "faults_of",
    "parse_event",
    "rfc3339",
    "timestamp",
]

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class Event(BaseModel):
    """Something that happened: frozen, named in the past tense, versioned.

    ``class StockReserved(Event, version=2)``. Adding an optional field keeps the version; anything
    else is a new version with an upcaster for the old one in ``upcasters`` (old version → function
    from the old data to the data of the next version).
    """

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    event_version: ClassVar[int] = 1
    upcasters: ClassVar[Mapping[int, Upcaster]] = {}
    #: Who sends it, when it comes from outside of the choreography: ``"carrier"``.
    origin: ClassVar[str | None] = None
    #: Heard by the participant alone that emits it.
    private: ClassVar[bool] = False
    #: Carries absolute values: of several in one write only the last one counts.
    latest: ClassVar[bool] = False
    #: Meant for other programs: nobody in the choreography need hear it.
    terminal: ClassVar[bool] = False

    @classmethod
    def __pydantic_init_subclass__(cls, *, version: int = 1, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.event_version = version

    def __init_subclass__(cls, *, version: int = 1, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)


class Command(BaseModel):
    """A request from outside (a REST call, an operator): may be refused, never published."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    #: Where it comes from, for diagrams: ``"POST /api/orders"``.
    origin: ClassVar[str] = "outside"


class _Described(NamedTuple):
    """What the engine reads off an event class, kept: asking a model class each time is slow."""

    type: str
    version: int
    #: Heard by the participant alone that emits it.
    private: bool
    #: Carries absolute values: of several in one write only the last one counts.
    latest: bool


@cache
def described(cls: type[BaseModel]) -> _Described:
    """The wire name, version and marks of an event class."""
    return _Described(
        type=getattr(cls, "event_type", cls.__name__),
        version=int(getattr(cls, "event_version", 1)),
        private=bool(getattr(cls, "private", False)),
        latest=bool(getattr(cls, "latest", False)),
    )


def event_type(cls: type[BaseModel]) -> str:
    """The wire name of an event class."""
    return described(cls).type


def event_version(cls: type[BaseModel]) -> int:
    """The schema version of an event class."""
    return described(cls).version


@dataclass(slots=True, kw_only=True)
class Message:
    """One event in its envelope (CloudEvents attributes; ours beyond the standard are extensions).

    Never changed once made: subscribers of one process share it. (Not ``frozen``, which would make
    each of thousands a second three times as slow to make.)

    ``time`` is in seconds since the epoch. ``sequence`` is the version of the producing aggregate
    after the write that emitted this event: projections ignore lower ones. ``attempt`` is the
    number of tries the emitting step needed. ``data`` is the event as JSON.
    """

    id: str
    type: str
    version: int = 1
    source: str
    subject: str
    saga_id: str | None
    sequence: int = 0
    time: float
    causation_id: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    attempt: int = 1
    #: Addressed to one participant only (operator actions); ``None`` goes to all that listen.
    to: str | None = None
    data: bytes = b"{}"
    #: The decoded event, when this process made it: frozen, so it may be shared.
    event: BaseModel | None = field(default=None, compare=False, repr=False)
    #: The message as ``encode`` made it: it is stored with each write until it has left.
    encoded: bytes | None = field(default=None, compare=False, repr=False)

    @property
    def topic(self) -> str:
        """The routing key: the type, with the addressee behind a dot when there is one."""
        return self.type if self.to is None else f"{self.type}.{self.to}"

    def without_event(self) -> Message:
        """The message as another process would see it: only what travels."""
        if self.event is None:
            return self
        return Message(
            id=self.id,
            type=self.type,
            version=self.version,
            source=self.source,
            subject=self.subject,
            saga_id=self.saga_id,
            sequence=self.sequence,
            time=self.time,
            causation_id=self.causation_id,
            request_id=self.request_id,
            traceparent=self.traceparent,
            attempt=self.attempt,
            to=self.to,
            data=self.data,
            encoded=self.encoded,
        )


def rfc3339(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339 in UTC with microseconds."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def timestamp(text: str) -> float:
    """RFC 3339 as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def attributes_of(message: Message) -> dict[str, Any]:
    """The message's CloudEvents attributes, all but ``datacontenttype``: JSON is understood."""
    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": message.id,
        "source": message.source,
        "type": message.type,
        "subject": message.subject,
        "time": rfc3339(message.time),
        "dataversion": message.version,
        "sequence": message.sequence,
        "attempt": message.attempt,
    }
    if message.saga_id is not None:
        attributes["correlationid"] = message.saga_id
    if message.causation_id is not None:
        attributes["causationid"] = message.causation_id
    if message.request_id is not None:
        attributes["requestid"] = message.request_id
    if message.traceparent is not None:
        attributes["traceparent"] = message.traceparent
    if message.to is not None:
        attributes["addressee"] = message.to
    return attributes


def encode(message: Message) -> bytes:
    """The message in CloudEvents structured JSON."""
    if message.encoded is None:
        attributes = attributes_of(message)
        attributes["datacontenttype"] = "application/json"
        attributes["data"] = orjson.Fragment(message.data)
        message.encoded = orjson.dumps(attributes)
    return message.encoded


def decode(raw: bytes | Mapping[str, Any], data: bytes | None = None) -> Message:
    """A message from CloudEvents structured JSON (bytes, or already parsed).

    With ``data``, which must be JSON, ``raw`` are its attributes alone. Raises ``Permanent`` when
    it is none: what cannot be decoded is never retried. Whoever sent it may be anybody, so nothing
    gets in that could not be stored: no text without end, no number beyond 53 bits.
    """
    try:
        attributes = orjson.loads(raw) if isinstance(raw, bytes) else raw
        if attributes["specversion"] != "1.0":
            raise ValueError(f"specversion {attributes['specversion']!r} is not 1.0")
        return Message(
            id=_text(attributes, "id"),
            type=_text(attributes, "type"),
            version=_whole(attributes, "dataversion", 1),
            source=_text(attributes, "source"),
            subject=_maybe(attributes, "subject") or "",
            saga_id=_maybe(attributes, "correlationid"),
            sequence=_whole(attributes, "sequence", 0),
            time=_moment(attributes),
            causation_id=_maybe(attributes, "causationid"),
            request_id=_maybe(attributes, "requestid"),
            traceparent=_maybe(attributes, "traceparent"),
            attempt=_whole(attributes, "attempt", 1),
            to=_maybe(attributes, "addressee"),
            data=orjson.dumps(attributes.get("data", {})) if data is None else data,
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Undecodable(f"not a CloudEvents 1.0 message ({error!r}); fix its producer") from error


MAX_TEXT = 1_024
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
#: The last moment that can be written down again in any time zone.
_LAST_MOMENT = 253_402_214_400.0


def _text(attributes: Mapping[str, Any], name: str) -> str:
    value = attributes[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be a non-empty string")
    if len(value) > MAX_TEXT or _CONTROLS.search(value):
        raise ValueError(f"{name} must have at most {MAX_TEXT} characters, none for control")
    return value


def _maybe(attributes: Mapping[str, Any], name: str) -> str | None:
    return _text(attributes, name) if attributes.get(name) not in (None, "") else None


def _whole(attributes: Mapping[str, Any], name: str, default: int) -> int:
    value = int(attributes.get(name, default))
    if not 0 <= value < 1 << 53:
        raise ValueError(f"{name} must be a whole number from 0 to 2**53 - 1")
    return value


def _moment(attributes: Mapping[str, Any]) -> float:
    time = attributes["time"]
    seconds = time.timestamp() if isinstance(time, datetime) else timestamp(time)
    if not 0 <= seconds <= _LAST_MOMENT:
        raise ValueError("time must lie between 1970 and 9999")
    return seconds


def parse_event(message: Message, cls: type[BaseModel]) -> BaseModel:
    """The event inside, as ``cls``; old versions pass through the class's upcasters.

    Raises ``Permanent`` when the version is unknown or the data does not fit.
    """
    if message.event is not None and type(message.event) is cls:
        return message.event
    wanted = event_version(cls)
    try:
        if message.version == wanted:
            return cls.model_validate_json(message.data)
        upcasters: Mapping[int, Upcaster] = getattr(cls, "upcasters", {})
        version, data = message.version, orjson.loads(message.data)
        while version != wanted:
            if version not in upcasters:
                raise UnknownVersion(
                    f"{message.type} version {message.version} is unknown here (known: {wanted}); "
                    f"deploy this consumer's newer contracts, then replay"
                )
            data, version = upcasters[version](data), version + 1
        return cls.model_validate(data)
    except ValidationError as error:
        said = f"{message.type} does not fit its contract: {faults_of(error)}"
        raise ContractBroken(said) from error


def faults_of(error: ValidationError) -> str:
    """What does not fit, and where, without what stands there: that may be a secret."""
    return "; ".join(
        f"{'.'.join(map(str, fault['loc'])) or '(root)'}: {fault['msg']}"
        for fault in error.errors(include_input=False, include_url=False)
    )
