"""Conditional requests (RFC 9110, section 13): an entity tag is the quoted version."""

from __future__ import annotations

import hashlib
import re

from aiohttp import web
from pydantic import BaseModel

from sagas.web.body import json_response
from sagas.web.problems import Problem

__all__ = ["check_if_match", "etag_of", "not_modified", "tagged_response"]

_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e]*")')


def etag_of(version: int | str) -> str:
    """``3`` → ``"3"``, quotes included."""
    return f'"{version}"'


def check_if_match(request: web.BaseRequest, version: int | str, *, required: bool = False) -> None:
    """412 when the caller changes something other than what they saw.

    Without ``If-Match`` nothing is checked, unless ``required``: then 428. Changes need a strong
    match: a weak tag never does.
    """
    sent = request.headers.getall("If-Match", None)
    if sent is None:
        if required:
            detail = "Say with If-Match which version you change (the ETag of your last read)."
            raise Problem(428, "precondition_required", detail)
        return
    if not _among(",".join(sent), etag_of(version), weakly=False):
        detail = "It has changed since you read it; read it again."
        raise Problem(412, "stale_version", detail, headers={"ETag": etag_of(version)})


def not_modified(request: web.BaseRequest, version: int | str) -> web.Response | None:
    """The 304 for a reader who has this version already, else ``None``."""
    sent = request.headers.getall("If-None-Match", None)
    if sent is None or not _among(",".join(sent), etag_of(version), weakly=True):
        return None
    return web.Response(status=304, headers={"ETag": etag_of(version)})


def tagged_response(request: web.BaseRequest, resource: BaseModel) -> web.Response:
    """A resource that nobody edits: the tag of its content tells readers whether anything moved."""
    body = resource.model_dump_json().encode()
    tag = hashlib.sha256(body).hexdigest()[:16]
    unchanged = not_modified(request, tag)
    return unchanged or json_response(body, headers={"ETag": etag_of(tag)})


def _among(header: str, tag: str, *, weakly: bool) -> bool:
    if header.strip() == "*":
        return True
    if _TAG.sub("", header).strip(" \t,"):
        return False  # No list of tags, though one may stand somewhere in it.
    return any(found == tag and (weakly or not weak) for weak, found in _TAG.findall(header))
