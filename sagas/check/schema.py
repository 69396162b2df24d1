"""Whether those who hear an event can read what those who say it send."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from sagas.check.finding import Finding, Place, listed
from sagas.check.flow import Flow, topic
from sagas.check.shapes import misfits
from sagas.envelope import Command, event_type, event_version
from sagas.reaction import Reaction

__all__ = ["schema"]

Trigger = type[BaseModel]


def schema(flow: Flow) -> Iterator[Finding]:
    """Compare each event class with those of the same wire name on the other side."""
    said: dict[str, list[Trigger]] = {}
    for reaction in flow.reactions():
        for cls in reaction.says:
            classes = said.setdefault(topic(cls, reaction.kind.participant.name), [])
            if cls not in classes:
                classes.append(cls)
    told: set[Trigger] = set()
    for reaction in flow.reactions():
        for cls in reaction.triggers:
            if issubclass(cls, Command):
                continue
            if cls not in told:
                told.add(cls)
                yield from _own_versions(cls)
                yield from _own_messages(cls)
            for producer in said.get(topic(cls, reaction.kind.participant.name), []):
                if producer is not cls:
                    yield from _readable(reaction, producer, cls)


def _own_versions(cls: Trigger) -> Iterator[Finding]:
    """Messages of earlier versions are still on their way, or stored, when a new one starts."""
    missing = _missing(cls, 1, event_version(cls))
    if missing:
        yield Finding(
            "SAGA501",
            event_type(cls),
            Place.of(cls),
            f"{event_type(cls)} is at version {event_version(cls)} without an upcaster from "
            f"version {listed(missing, 'and')}: messages of that version become dead letters.",
            "Add a function to `upcasters` that turns the old data into the next version's.",
        )


def _own_messages(cls: Trigger) -> Iterator[Finding]:
    """Within a process nobody notices: the event itself is handed over there."""
    found = misfits(cls, cls)
    if found:
        yield Finding(
            "SAGA502",
            event_type(cls),
            Place.of(cls),
            f"{event_type(cls)} cannot read its own messages: {listed(found, 'and')}.",
            "Events travel under the names of their fields: take aliases and `exclude` away, or "
            "set `serialize_by_alias` in the model's configuration.",
        )


def _missing(cls: Trigger, first: int, wanted: int) -> list[str]:
    upcasters: Mapping[int, Any] = getattr(cls, "upcasters", {})
    return [str(version) for version in range(first, wanted) if version not in upcasters]


def _readable(reaction: Reaction, producer: Trigger, consumer: Trigger) -> Iterator[Finding]:
    name, sent, read = event_type(consumer), event_version(producer), event_version(consumer)
    subject = f"{reaction.kind.participant.name}.{reaction.name}"
    if sent > read:
        yield Finding(
            "SAGA501",
            subject,
            Place.of(reaction),
            f"{reaction.name} reads {name} in version {read}, but it is sent in version {sent}: "
            f"every message becomes a dead letter.",
            f"Let {reaction.name} use version {sent} of the event.",
        )
    elif sent < read:
        missing = _missing(consumer, sent, read)
        if missing:
            yield Finding(
                "SAGA501",
                subject,
                Place.of(reaction),
                f"{reaction.name} reads {name} in version {read}, it is sent in version {sent}, "
                f"and there is no upcaster from version {listed(missing, 'and')}.",
                "Add a function to `upcasters` of the class that is read.",
            )
    else:
        yield from _fields(reaction, subject, producer, consumer)


def _fields(
    reaction: Reaction, subject: str, producer: Trigger, consumer: Trigger
) -> Iterator[Finding]:
    found = misfits(producer, consumer)
    if found:
        yield Finding(
            "SAGA502",
            subject,
            Place.of(reaction),
            f"{reaction.name} cannot read {event_type(consumer)} as its producer sends it: "
            f"{listed(found, 'and')}.",
            "Let both use one class, or make what is read fit what is sent; a field that may be "
            "missing has a default.",
        )
