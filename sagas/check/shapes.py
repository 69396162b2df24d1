"""Whether one model can read what another writes, as far as their types tell.

Both are compared as JSON Schema, which pydantic derives for writing and for reading: nested models,
unions, enumerations and fields left out are all in there. Only shapes count, not formats or bounds;
what cannot be told counts as readable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

__all__ = ["misfits"]

Schema = dict[str, Any]
#: What the reader takes beside its own type, being lax. Times are read from numbers as well.
_ALSO = {"number": {"integer", "decimal"}, "integer": {"decimal"}, "time": {"integer", "number"}}
_TIMES = ("date", "time", "date-time", "duration")


class _Schemas(GenerateJsonSchema):
    """Tells a decimal, which is written as text, from any other text."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        found = super().decimal_schema(schema)
        return {**found, "format": "decimal"} if self.mode == "serialization" else found


def misfits(producer: type[BaseModel], consumer: type[BaseModel]) -> list[str]:
    """What of ``producer``'s messages ``consumer`` cannot read, each in words; empty: it can."""
    sent = _schema(producer, "serialization", bool(producer.model_config.get("serialize_by_alias")))
    read = _schema(consumer, "validation", True)
    if sent is None or read is None:
        return []
    found = list(_Comparison(sent, read).misfits(sent, read, ""))
    config = consumer.model_config
    if found and (config.get("populate_by_name") or config.get("validate_by_name")):
        read = _schema(consumer, "validation", False) or read
        found = list(_Comparison(sent, read).misfits(sent, read, ""))
    return found


def _schema(
    model: type[BaseModel], mode: Literal["validation", "serialization"], by_alias: bool
) -> Schema | None:
    try:
        return model.model_json_schema(by_alias, schema_generator=_Schemas, mode=mode)
    except (PydanticInvalidForJsonSchema, PydanticUserError):
        return None  # it has a type of its own making


@dataclass
class _Comparison:
    sent: Schema
    read: Schema
    #: Pairs that are being compared: models may contain themselves.
    under_way: set[tuple[int, int]] = field(default_factory=set)

    def misfits(self, sent: Schema, read: Schema, path: str) -> Iterator[str]:
        choices = list(_alternatives(read, self.read))
        for each in _alternatives(sent, self.sent):
            tries = [list(self._of_one(each, choice, path)) for choice in choices]
            if all(tries):
                yield from self._nearest(each, choices, tries, path)

    def _nearest(
        self, sent: Schema, choices: list[Schema], tries: list[list[str]], path: str
    ) -> list[str]:
        """What the alternative of the same kind lacks says more than that none fits."""
        same = [
            found
            for choice, found in zip(choices, tries, strict=True)
            if _kind(choice) == _kind(sent)
        ]
        if len(same) == 1 and _kind(sent) in ("object", "array"):
            return same[0]
        if len(choices) == 1:
            return tries[0]
        wanted = " or ".join(dict.fromkeys(map(_told, choices)))
        return [f"{path or 'it'} is sent as {_told(sent)} and read as {wanted}"]

    def _of_one(self, sent: Schema, read: Schema, path: str) -> Iterator[str]:
        there, here = _kind(sent), _kind(read)
        if not there or not here:
            return
        if there != here and there not in _ALSO.get(here, ()):
            if not (here == "string" and there in ("decimal", "time")):
                yield f"{path or 'it'} is sent as {_told(sent)} and read as {_told(read)}"
            return
        if (known := _values(read)) is not None:
            said = _values(sent)
            if said is None or any(value not in known for value in said):
                yield f"{path or 'it'} is sent as {_told(sent)} and read as {_told(read)}"
        elif here == "object" and (pair := (id(sent), id(read))) not in self.under_way:
            self.under_way.add(pair)
            yield from self._of_objects(sent, read, path)
            self.under_way.discard(pair)
        elif here == "array":
            yield from self._of_arrays(sent, read, path)

    def _of_objects(self, sent: Schema, read: Schema, path: str) -> Iterator[str]:
        there, here = sent.get("properties"), read.get("properties", {})
        if there is None:  # a mapping: nobody knows its keys
            more, wanted = sent.get("additionalProperties"), read.get("additionalProperties")
            if isinstance(more, dict) and isinstance(wanted, dict):
                yield from self.misfits(more, wanted, f"{path}[…]")
            return
        for name in read.get("required", ()):
            if name not in there:
                yield f"{_inside(path, name)} is not sent"
        for name, schema in there.items():
            if name in here:
                yield from self.misfits(schema, here[name], _inside(path, name))
            elif read.get("additionalProperties") is False:
                yield f"{_inside(path, name)} is sent and not allowed"

    def _of_arrays(self, sent: Schema, read: Schema, path: str) -> Iterator[str]:
        there, here = sent.get("items"), read.get("items")
        if isinstance(there, dict) and isinstance(here, dict):
            yield from self.misfits(there, here, f"{path}[…]")
        pairs = zip(sent.get("prefixItems", ()), read.get("prefixItems", ()), strict=False)
        for place, (one, other) in enumerate(pairs):
            yield from self.misfits(one, other, f"{path}[{place}]")


def _alternatives(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The schema's branches, each without references."""
    while "$ref" in schema:
        schema = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
    branches = schema.get("anyOf") or schema.get("oneOf")
    if branches is None:
        yield schema
    else:
        for branch in branches:
            yield from _alternatives(branch, root)


def _kind(schema: Schema) -> str:
    """The JSON type, with texts that are times or decimals told apart; empty: anything."""
    kind, format = schema.get("type", ""), schema.get("format")
    if kind == "string" and format in _TIMES:
        return "time"
    if kind == "string" and format == "decimal":
        return "decimal"
    return kind if isinstance(kind, str) else ""


def _values(schema: Schema) -> list[Any] | None:
    """The few values that are allowed; ``None``: any of its kind."""
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    return values if isinstance(values, list) else None


def _told(schema: Schema) -> str:
    values = _values(schema)
    if values is not None:
        return "one of " + ", ".join(map(repr, values)) if len(values) > 1 else repr(values[0])
    words = {"object": "an object", "array": "a list", "integer": "an integer", "null": "null"}
    kind = _kind(schema)
    return words.get(kind, f"a {kind}" if kind else "anything")


def _inside(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
