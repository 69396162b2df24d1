"""Reading requests and writing answers: strict JSON in, JSON out."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, NoReturn, TypeVar

import orjson
from aiohttp import web
from pydantic import BaseModel, ValidationError

from sagas.web.problems import (
    Problem,
    invalid_body,
    invalid_query,
    malformed,
    parameter_error,
    too_large,
    unsupported_media_type,
    validation_failed,
)
from sagas.web.state import SETTINGS

__all__ = [
    "DECLARED",
    "json_response",
    "read_body",
    "read_json",
    "read_nothing",
    "read_query",
    "refuse_query",
]

Model = TypeVar("Model", bound=BaseModel)

#: What the route's description says that it reads; nothing else can be read.
DECLARED: Final = web.RequestKey("sagas.declared", tuple)

MAX_DEPTH = 32
#: Longer names and numbers than anybody means; what is refused here is repeated in no answer.
MAX_NAME = 256
MAX_DIGITS = 500
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


# -------------------------------------------------------------------------------------- requests


async def read_body(request: web.Request) -> bytes:
    """The body as it came: at most ``body_limit_bytes`` (else 413), in time (else 408)."""
    settings = request.app[SETTINGS]
    length = request.content_length
    if length is not None and length > settings.body_limit_bytes:
        raise too_large(settings.body_limit_bytes)
    try:
        if request.content.is_eof():  # It is all here: the usual case needs no timer.
            return await request.read()
        # The headers used up a part of the time; a connection of ours knows how much.
        spent_s: float = getattr(request.protocol, "headers_took_s", 0.0)
        async with asyncio.timeout(max(0.0, settings.arrival_s - spent_s)):
            return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise too_large(settings.body_limit_bytes) from None
    except TimeoutError:
        detail = f"The request did not arrive within {settings.arrival_s:g} s."
        raise Problem(408, "request_timeout", detail, close=True) from None
    except web.RequestPayloadError:
        raise malformed("The body ended before its end, or is not framed as HTTP asks.") from None


async def read_json(request: web.Request, model: type[Model]) -> Model:
    """The body as ``model``. Raises the problem that tells the client what is wrong with it.

    What takes a body takes no query: everything is said in the body.
    """
    _check_declared(request, model)
    refuse_query(request)
    _check_media_type(request)
    raw = await read_body(request)
    _refuse_encoding(request, raw)
    _check_json(raw)
    try:
        return model.model_validate_json(raw)
    except ValidationError as error:
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            raise malformed("The body is not valid JSON.") from None
        raise invalid_body(error) from None


async def read_nothing(request: web.Request) -> None:
    """For a route that takes no body: an empty one, or an empty object, is fine."""
    raw = await read_body(request)
    if not raw:
        return
    _check_media_type(request)
    _refuse_encoding(request, raw)
    _check_json(raw)
    if orjson.loads(raw) != {}:
        raise validation_failed({"pointer": "", "detail": "This route takes no body."})


def refuse_query(request: web.Request) -> None:
    """For a route that reads no query: an unknown parameter is refused, never ignored."""
    if request.query_string:
        raise validation_failed(
            *(parameter_error(name, "is unknown here") for name in sorted(set(request.query)))
        )


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query string as ``model``: each parameter at most once, none unknown."""
    _check_declared(request, model)
    values = dict(request.query)
    if len(values) != len(request.query):
        twice = sorted(name for name in values if len(request.query.getall(name)) > 1)
        raise validation_failed(*(parameter_error(name, "must stand once") for name in twice))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_query(error) from None


def _check_declared(request: web.Request, model: type[BaseModel]) -> None:
    if model not in request.get(DECLARED, (model,)):
        raise LookupError(f"the route's @Operation does not say that it reads {model.__name__}")


def _check_media_type(request: web.Request) -> None:
    if request.content_type != "application/json":
        raise unsupported_media_type("Send application/json.")
    if (request.charset or "utf-8").lower() not in ("utf-8", "utf8"):
        raise unsupported_media_type("Send JSON in UTF-8.")


def _refuse_encoding(request: web.Request, raw: bytes) -> None:
    """Nothing compressed is read. What would be too large is told so, not invited to come plain."""
    if request.headers.get("Content-Encoding", "identity").lower() == "identity":
        return
    limit = request.app[SETTINGS].body_limit_bytes
    with suppress(zlib.error):  # some other encoding
        # gzip or zlib, whatever it calls itself; no more than this is ever made of it.
        if len(zlib.decompressobj(47).decompress(raw, limit + 1)) > limit:
            raise too_large(limit)
    raise unsupported_media_type("Send the body without a content encoding.")


def _check_json(raw: bytes) -> None:
    """What pydantic's parser would let pass: duplicate keys, NaN, absurd depth and length."""
    try:
        text = raw.decode()
        if text.count("[") + text.count("{") > MAX_DEPTH:
            _check_depth(text)
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_float)
    except (ValueError, RecursionError):
        raise malformed("The body is not valid JSON.") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    # Which of two equal names counts differs between parsers: an old way past a check.
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("duplicate name")
    if any(len(name) > MAX_NAME for name, _ in pairs):
        raise ValueError("a name without end")


def _float(digits: str) -> float:
    # Of whole numbers Python itself limits the digits.
    if len(digits) > MAX_DIGITS:
        raise ValueError("a number without end")
    return float(digits)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_depth(text: str) -> None:
    depth = 0
    for character in _STRING.sub("", text):
        if character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError("nested too deeply")
        elif character in "]}":
            depth -= 1


# --------------------------------------------------------------------------------------- answers


def json_response(
    content: BaseModel | Mapping[str, Any] | bytes,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """``content`` as JSON; bytes are JSON already."""
    if isinstance(content, bytes):
        body = content
    elif isinstance(content, BaseModel):
        body = content.model_dump_json().encode()
    else:
        body = orjson.dumps(content, default=_dump)
    return web.Response(
        status=status, body=body, headers={**(headers or {}), "Content-Type": "application/json"}
    )


def _dump(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")
