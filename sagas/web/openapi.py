"""OpenAPI 3.1 out of described routes: what they read and answer, and how they may refuse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic import TypeAdapter

from sagas.web.operations import CALLER, Content, Operation

__all__ = ["CODES", "Codes", "codes_of", "document", "refusals"]

#: The codes of the problems that an operation may answer with, by status.
Codes = Mapping[int, Sequence[str]]

#: Where an operation's codes stand in the document, for programs.
CODES: Final = "x-problem-codes"

_REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457. Programs decide by `code`, people read `detail`.",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "additionalProperties": False,
    "properties": {
        "type": _TEXT,
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "code": _TEXT,
        "request_id": _TEXT,
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["detail"],
                "additionalProperties": False,
                "properties": {
                    "pointer": {**_TEXT, "description": "RFC 6901, into the body."},
                    "parameter": {**_TEXT, "description": "The query parameter."},
                    "detail": _TEXT,
                },
            },
        },
    },
}

_HEADERS: Final = {
    "ETag": "The version, for If-Match and If-None-Match.",
    "Idempotent-Replayed": "`true`: this was done before, under the same Idempotency-Key.",
    "Location": "Where the new resource is.",
    "Preference-Applied": "How long was waited at most.",
    "Retry-After": "Seconds until another try makes sense.",
    "WWW-Authenticate": "How to say who you are.",
    "X-Request-Id": "The request's id: yours, or a new one.",
}

_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key and body again is the same request, for 24 h.",
    "schema": {**_TEXT, "pattern": "^[!-~]{1,255}$"},
}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of the version that is changed; another one is refused with 412.",
    "schema": _TEXT,
    "example": '"1"',
}
_IF_NONE_MATCH: Final = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The ETag of what you have: 304 if it is that still.",
    "schema": _TEXT,
}


def document(title: str, description: str, operations: Iterable[Operation]) -> dict[str, Any]:
    """The document of one application. The contract's version is 1."""
    promises = list(operations)
    schemas, components = _schemas(promises)
    paths: dict[str, dict[str, Any]] = {}
    responses: dict[str, Any] = {}
    schemes: dict[str, Any] = {}
    for promise in promises:
        refused, parts = refusals(codes_of(promise))
        responses |= parts
        if promise.who.scheme is not None:
            schemes[promise.who.scheme] = dict(promise.who.shown)
        schemes.setdefault("bearer", dict(CALLER.shown))
        shown = _operation(promise, schemas)
        shown["responses"] |= refused
        paths.setdefault(promise.path, {})[promise.method.lower()] = shown
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": "1", "description": description},
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "responses": responses,
            "headers": {
                name: {"description": text, "schema": _TEXT} for name, text in _HEADERS.items()
            },
            "securitySchemes": schemes,
        },
    }


# -------------------------------------------------------------------------------------- refusals


def codes_of(promise: Operation) -> dict[int, tuple[str, ...]]:
    """Every code that a route may answer with: its handler's, and of what stands before it."""
    found = {
        400: {"malformed_request"},
        401: {"unauthenticated"},
        408: {"request_timeout"},
        413: {"body_too_large"},
        417: {"expectation_failed"},
        431: {"headers_too_large"},
        500: {"internal_error"},
        504: {"upstream_timeout"},
    }

    def add(condition: object, status: int, code: str) -> None:
        if condition:
            found.setdefault(status, set()).add(code)

    add(promise.who.role, 403, "forbidden")
    add("{" in promise.path, 404, "not_found")
    add(promise.once, 409, "idempotency_in_progress")
    add(promise.once, 422, "idempotency_key_reused")
    add(promise.if_match, 412, "stale_version")
    add(promise.if_match == "required", 428, "precondition_required")
    add(promise.body or promise.takes_nothing, 415, "unsupported_media_type")
    add(not promise.always, 422, "validation_failed")
    add(not promise.always, 503, "unavailable")
    for status, codes in promise.refuses.items():
        found.setdefault(status, set()).update(codes)
    return {status: tuple(sorted(codes)) for status, codes in sorted(found.items())}


def refusals(codes: Codes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The responses of an operation for these problems, and the components that they refer to."""
    refs: dict[str, Any] = {}
    parts: dict[str, Any] = {}
    for status, words in codes.items():
        name = "_or_".join(words)
        refs[str(status)] = {"$ref": f"#/components/responses/{name}"}
        parts[name] = _refusal(status, words)
    return refs, parts


def _refusal(status: int, words: Sequence[str]) -> dict[str, Any]:
    headers = ["X-Request-Id"]
    headers += ["WWW-Authenticate"] if status == 401 else []
    headers += ["Retry-After"] if status in (429, 503) else []
    only = {"properties": {"code": {"enum": list(words)}}}
    schema = {"allOf": [{"$ref": _REF.format(model="Problem")}, only]}
    return {
        "description": " or ".join(f"`{word}`" for word in words),
        "headers": _headers(headers),
        "content": {"application/problem+json": {"schema": schema}},
    }


def _headers(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


# ------------------------------------------------------------------------------------ operations

_Key = tuple[str, str]


def _schemas(promises: Sequence[Operation]) -> tuple[dict[_Key, Any], dict[str, Any]]:
    """The schema of everything that an operation reads or answers, and what they refer to."""
    inputs: list[Any] = []
    for promise in promises:
        if promise.body is not None:
            inputs.append(((promise.name, "body"), "validation", TypeAdapter(promise.body)))
        for status, content in promise.answers.items():
            inputs += [
                ((promise.name, f"{status} {kind}"), "serialization", TypeAdapter(model))
                for kind, model in _kinds(content).items()
            ]
    found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
    return {key: schema for (key, _), schema in found.items()}, rest.get("$defs", {})


def _kinds(content: Any) -> Mapping[str, Any]:
    if content is None:
        return {}
    return content.kinds if isinstance(content, Content) else {"application/json": content}


def _operation(promise: Operation, schemas: Mapping[_Key, Any]) -> dict[str, Any]:
    who = promise.who
    shown: dict[str, Any] = {
        "operationId": promise.name,
        "summary": promise.summary,
        "tags": [promise.tag],
        "security": [] if who.scheme is None else [{who.scheme: [who.role] if who.role else []}],
        "parameters": [*_places(promise), *_query(promise), *_read_headers(promise)],
        "responses": {str(status): _answer(promise, status, schemas) for status in promise.answers},
        CODES: {str(status): list(codes) for status, codes in codes_of(promise).items()},
    }
    if promise.tagged:
        headers = _headers(("ETag", "X-Request-Id"))
        shown["responses"]["304"] = {"description": "You have it already.", "headers": headers}
    if promise.body is not None:
        shown["requestBody"] = {
            "required": not promise.body_optional,
            "content": {
                "application/json": {
                    "schema": schemas[promise.name, "body"],
                    "examples": {
                        name: {"value": value} for name, value in promise.examples.items()
                    },
                }
            },
        }
    return shown


def _places(promise: Operation) -> list[dict[str, Any]]:
    schema = {**_TEXT, "minLength": 1}
    return [
        {"name": name, "in": "path", "required": True, "schema": schema, "example": example}
        for name, example in promise.places.items()
    ]


def _query(promise: Operation) -> list[dict[str, Any]]:
    if promise.query is None:
        return []
    schema = TypeAdapter(promise.query).json_schema(ref_template=_REF)
    found = []
    for name, each in schema["properties"].items():
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": _without_null(each),
        }
        if name in promise.sample:
            parameter["example"] = _typed(promise.sample[name], parameter["schema"])
        found.append(parameter)
    return found


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """In a query what is absent is not sent: no value of it is null."""
    kept = {name: value for name, value in schema.items() if name not in ("anyOf", "title")}
    if kept.get("default", "") is None:
        del kept["default"]
    for choice in schema.get("anyOf", ()):
        if choice != {"type": "null"}:
            kept |= choice
    return kept


def _typed(example: str, schema: Mapping[str, Any]) -> Any:
    if schema.get("type") == "integer":
        return int(example)
    return example == "true" if schema.get("type") == "boolean" else example


def _read_headers(promise: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if promise.once:
        found.append(_IDEMPOTENCY_KEY)
    if promise.if_match:
        found.append({**_IF_MATCH, "required": promise.if_match == "required"})
    if promise.tagged:
        found.append(_IF_NONE_MATCH)
    found += ({"name": name, "in": "header", **more} for name, more in promise.headers.items())
    return found


def _answer(promise: Operation, status: int, schemas: Mapping[_Key, Any]) -> dict[str, Any]:
    headers = ["X-Request-Id"]
    headers += ["Location"] if status in (201, 202) else []
    headers += ["ETag"] if promise.tagged or promise.if_match or status == 201 else []
    headers += ["Idempotent-Replayed"] if promise.once else []
    headers += ["Preference-Applied"] if "Prefer" in promise.headers else []
    answer: dict[str, Any] = {
        "description": HTTPStatus(status).phrase,
        "headers": _headers(headers),
    }
    kinds = _kinds(promise.answers[status])
    if kinds:
        answer["content"] = {
            kind: {"schema": schemas[promise.name, f"{status} {kind}"]} for kind in kinds
        }
    return answer
