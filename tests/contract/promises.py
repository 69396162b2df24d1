"""Is an answer one that the document promises? Asked of every answer that the other tests get."""

from __future__ import annotations

import re
from functools import cache

import orjson

from tests.contract.documents import WHOLE

__all__ = ["broken_promise"]


def broken_promise(method: str, path: str, status: int, raw: bytes) -> str | None:
    """What the document does not say of this answer, in words."""
    promised = _responses(method.lower(), path.partition("?")[0])
    if promised is None:
        return None  # no route, or not this method: nothing is promised
    statuses, codes = promised
    if str(status) not in statuses:
        return f"{method} {path} answered {status}, which is not described: {raw[:300]!r}"
    if str(status) in codes and method != "HEAD":
        code = orjson.loads(raw)["code"]
        if code not in codes[str(status)]:
            return f"{method} {path} answered {status} {code}, which is not described"
    return None


@cache
def _templates() -> list[tuple[re.Pattern[str], str]]:
    """Longer ones without parameters first: /graph is no {saga_id}."""
    found = sorted(WHOLE["paths"], key=lambda path: (path.count("{"), -len(path)))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in found]


def _responses(method: str, path: str) -> tuple[set[str], dict[str, list[str]]] | None:
    for pattern, template in _templates():
        if pattern.fullmatch(path) and method in WHOLE["paths"][template]:
            said = WHOLE["paths"][template][method]
            return set(said["responses"]), said["x-problem-codes"]
    return None
