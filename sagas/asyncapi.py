"""AsyncAPI 3.0 out of a choreography: which events there are, who says them and who listens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from sagas.envelope import Command, event_type, event_version
from sagas.events import ENGINE_EVENTS, CancelRequested
from sagas.flow import Choreography
from sagas.intake import CONTROL
from sagas.participant import Participant

__all__ = ["asyncapi"]

_TEXT: Final = {"type": "string"}

#: What the engine says for every participant; a cancellation is the choreography's own affair.
_SAID: Final = {
    event_type(cls): cls
    for cls in ENGINE_EVENTS
    if event_type(cls) not in CONTROL and cls is not CancelRequested
}

#: The envelope, as each broker carries it (CloudEvents 1.0, and our extensions).
_ENVELOPE: Final = {
    "type": "object",
    "required": ["id", "type", "source", "subject", "time"],
    "properties": {
        "id": {**_TEXT, "description": "Unique: an event that comes twice has the same."},
        "type": {**_TEXT, "description": "The name of the event."},
        "source": {**_TEXT, "description": "The participant that says it."},
        "subject": {**_TEXT, "description": "The key of what it is about."},
        "time": {**_TEXT, "format": "date-time"},
    },
}


def asyncapi(choreography: Choreography) -> dict[str, Any]:
    """The document. A channel is one kind of event; its address is the event's name, and behind a
    dot its addressee's where it has one.
    """
    classes = dict(sorted({**choreography.event_classes(), **_SAID, **CONTROL}.items()))
    payloads, schemas = _payloads(classes)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": f"The events of {choreography.name}",
            "version": "1",
            "description": "Past tense, immutable, delivered at least once. Generated from the "
            "declarations.",
        },
        "defaultContentType": "application/json",
        "channels": {name: _channel(name) for name in classes},
        "operations": dict(
            operation
            for participant in choreography.participants
            for operation in (*_operations(participant), *_engines_operations(participant))
        ),
        "components": {
            "messages": {
                name: _message(name, cls, payloads[name]) for name, cls in classes.items()
            },
            "messageTraits": {"envelope": {"headers": _ENVELOPE}},
            "schemas": schemas,
        },
    }


def _payloads(classes: Mapping[str, type[BaseModel]]) -> tuple[dict[str, Any], dict[str, Any]]:
    found, rest = TypeAdapter.json_schemas(
        [(name, "serialization", TypeAdapter(cls)) for name, cls in classes.items()],
        ref_template="#/components/schemas/{model}",
    )
    return {name: schema for (name, _), schema in found.items()}, rest.get("$defs", {})


def _channel(name: str) -> dict[str, Any]:
    channel: dict[str, Any] = {
        "address": name,
        "messages": {name: {"$ref": f"#/components/messages/{name}"}},
    }
    if name in CONTROL:
        channel["address"] = f"{name}.{{participant}}"
        channel["parameters"] = {"participant": {"description": "Whom it concerns alone."}}
    return channel


def _message(name: str, cls: type[BaseModel], payload: Mapping[str, Any]) -> dict[str, Any]:
    text = (cls.__doc__ or "").strip()
    return {
        "name": name,
        "title": name,
        "summary": text.partition("\n")[0],
        "payload": payload,
        "traits": [{"$ref": "#/components/messageTraits/envelope"}],
        "x-version": event_version(cls),
    }


def _operations(participant: Participant[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    said: dict[str, None] = {}
    heard: dict[str, None] = {}
    for reaction in participant.reactions():
        heard |= dict.fromkeys(
            event_type(cls) for cls in reaction.triggers if not issubclass(cls, Command)
        )
        said |= dict.fromkeys(event_type(cls) for cls in (*reaction.emits, *reaction.refuses))
    yield from _named(participant, "send", said)
    yield from _named(participant, "receive", heard)


def _engines_operations(participant: Participant[Any]) -> Iterable[tuple[str, dict[str, Any]]]:
    yield from _named(participant, "send", _SAID)
    yield from _named(participant, "receive", CONTROL)


def _named(
    participant: Participant[Any], action: str, names: Iterable[str]
) -> Iterable[tuple[str, dict[str, Any]]]:
    for name in names:
        channel = f"#/channels/{name}"
        yield (
            f"{participant.name}-{action}-{name}",
            {
                "action": action,
                "channel": {"$ref": channel},
                "messages": [{"$ref": f"{channel}/messages/{name}"}],
                "tags": [{"name": participant.name}],
            },
        )
