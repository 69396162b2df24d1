"""The part of the SARIF 2.1.0 schema that our log uses, and a checker of just that much.

Taken from the OASIS schema: the same names, required properties and enumerations; properties that
we never write are left out, and closed objects (``additionalProperties: false``) stay closed.
"""

from __future__ import annotations

from typing import Any

__all__ = ["SARIF", "faults"]

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_INDEX: Schema = {"type": "integer", "minimum": -1}
_LEVEL: Schema = {"type": "string", "enum": ["none", "note", "warning", "error"]}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {"type": "object", "required": required, "properties": properties}


def _array(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


_MESSAGE = _object([], text=_TEXT, markdown=_TEXT, id=_TEXT)
_PHYSICAL = _object(
    [],
    artifactLocation=_object([], uri=_TEXT, uriBaseId=_TEXT, index=_INDEX),
    region=_object([], startLine={"type": "integer", "minimum": 1}),
)
_LOCATION = _object([], id=_INDEX, physicalLocation=_PHYSICAL, message=_MESSAGE)
_THREAD = _object(["locations"], locations=_array(_object([], location=_LOCATION), 1))
_RESULT = _object(
    ["message"],
    ruleId=_TEXT,
    ruleIndex=_INDEX,
    level=_LEVEL,
    message=_MESSAGE,
    locations=_array(_LOCATION),
    codeFlows=_array(_object(["threadFlows"], threadFlows=_array(_THREAD, 1))),
    partialFingerprints={"type": "object", "values": _TEXT},
)
_RULE = _object(
    ["id"],
    id=_TEXT,
    name=_TEXT,
    shortDescription=_object(["text"], text=_TEXT, markdown=_TEXT),
    defaultConfiguration=_object([], level=_LEVEL),
)
_DRIVER = _object(["name"], name=_TEXT, rules=_array(_RULE))
_RUN = _object(
    ["tool"],
    tool=_object(["driver"], driver=_DRIVER),
    results=_array(_RESULT),
    columnKind={"type": "string", "enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    properties={"type": "object", "values": {}},
)
SARIF = _object(
    ["version", "runs"],
    **{"$schema": _TEXT},
    version={"type": "string", "enum": ["2.1.0"]},
    runs=_array(_RUN),
)

_TYPES: dict[str, type] = {"string": str, "integer": int, "object": dict, "array": list}


def faults(value: Any, schema: Schema, where: str = "$") -> list[str]:
    """What of ``value`` the schema does not allow, each with its path."""
    kind = schema.get("type")
    if kind is not None and not isinstance(value, _TYPES[kind]):
        return [f"{where} is no {kind}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{where} is {value!r}")
    if "minimum" in schema and value < schema["minimum"]:
        found.append(f"{where} is less than {schema['minimum']}")
    if kind == "array":
        if len(value) < schema["minItems"]:
            found.append(f"{where} is too short")
        for place, each in enumerate(value):
            found += faults(each, schema["items"], f"{where}[{place}]")
    if kind == "object":
        found += _object_faults(value, schema, where)
    return found


def _object_faults(value: dict[str, Any], schema: Schema, where: str) -> list[str]:
    found = [f"{where}.{key} is missing" for key in schema.get("required", ()) if key not in value]
    known = schema.get("properties")
    for key, each in value.items():
        if known is not None and key not in known:
            found.append(f"{where}.{key} is unknown")
        else:
            inner = schema["values"] if known is None else known[key]
            found += faults(each, inner, f"{where}.{key}")
    return found
