"""Conditional requests (RFC 9110, section 13): an entity tag is the quoted version."""

from __future__ import annotations

import hashlib
import re

from aiohttp import web
from pydantic import BaseModel

from sagas.web.body import json_response
from sagas.web.problems import Problem

__all__ = [
    "Versions",
    "etag_of",
    "if_match",
    "not_modified",
    "stale_version",
    "tagged_response",
]

#: Which versions a change may be made of; ``None`` is any.
Versions = frozenset[int] | None

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e]*")')
#: The tag of a version: 03 is no other way to write 3.
_VERSION = re.compile(r'"(?:0|[1-9][0-9]{0,17})"')


def etag_of(version: int | str) -> str:
    """``3`` → ``"3"``, quotes included."""
    return f'"{version}"'


def if_match(request: web.BaseRequest, *, required: bool = False) -> Versions:
    """The versions that the caller wants to have changed and no other.

    Any, without ``If-Match``, unless it is ``required``: then 428. ``*`` is any, too. Changes need
    a strong match: a weak tag is never one, nor is what is no list of tags.
    """
    sent = request.headers.getall("If-Match", None)
    if sent is None:
        if required:
            detail = "Say with If-Match which version you change (the ETag of your last read)."
            raise Problem(428, "precondition_required", detail)
        return None
    tags = _tags(",".join(sent))
    if tags is None:
        return None
    return frozenset(int(tag[1:-1]) for weak, tag in tags if not weak and _VERSION.fullmatch(tag))


def stale_version(version: int) -> Problem:
    """412: the caller changes something other than what they saw; the tag is what is there now."""
    detail = "It has changed since you read it; read it again."
    return Problem(412, "stale_version", detail, headers={"ETag": etag_of(version)})


def not_modified(request: web.BaseRequest, version: int | str) -> web.Response | None:
    """The 304 for a reader who has this version already, else ``None``."""
    sent = request.headers.getall("If-None-Match", None)
    if sent is None:
        return None
    tags = _tags(",".join(sent))
    if tags is not None and all(tag != etag_of(version) for _, tag in tags):
        return None
    return web.Response(status=304, headers={"ETag": etag_of(version)})


def tagged_response(request: web.BaseRequest, resource: BaseModel) -> web.Response:
    """A resource that nobody edits: the tag of its content tells readers whether anything moved."""
    body = resource.model_dump_json().encode()
    tag = hashlib.sha256(body).hexdigest()[:16]
    unchanged = not_modified(request, tag)
    return unchanged or json_response(body, headers={"ETag": etag_of(tag)})


def _tags(header: str) -> list[tuple[str, str]] | None:
    """Each with ``W/`` before it, if it is weak; ``None``: whatever the tag is."""
    if header.strip() == "*":
        return None
    if _TAG.sub("", header).strip(" \t,"):
        return []  # No list of tags, though one may stand somewhere in it.
    return _TAG.findall(header)
