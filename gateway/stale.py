"""A fallback that is honest: while products cannot be read, what was read of them before.

It is marked as old by ``Age`` and ``Cache-Status`` (RFC 9211; ``Warning`` is obsolete), nobody may
keep it, and ``available`` is null in it: stock is never guessed. Nothing is ever pretended of a
write.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from multidict import CIMultiDict

from gateway.calls import (
    BadUpstream,
    Call,
    CircuitOpen,
    Overloaded,
    UpstreamRequest,
    UpstreamResponse,
    UpstreamTimeout,
    now_s,
)

__all__ = ["StaleReads"]

#: What an entry costs beside its bytes.
ENTRY_BYTES = 500


@dataclass(frozen=True, slots=True)
class _Entry:
    read_at: float
    body: bytes


class StaleReads:
    """A policy for a service whose answers to GET are everybody's: keeps the latest of each path
    and query, ``max_bytes`` of them, and shows one up to ``max_age_s`` later if there is no other.

    ``served`` is told of each.
    """

    def __init__(self, max_age_s: float, max_bytes: int, served: Callable[[], None]) -> None:
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._served = served
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self.size_bytes = 0

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        if request.method != "GET":
            return await self._changing(call, request)
        try:
            answer = await call(request)
        except (BadUpstream, UpstreamTimeout, CircuitOpen, Overloaded) as problem:
            old = self._old(request, problem.code)
            if old is None:
                raise
            return old
        if answer.status >= 500:
            old = self._old(request, str(answer.status))
            if old is not None:
                answer.close()
                return old
        elif answer.status == 200:
            self._keep(request.target, answer)
        elif answer.status != 304:
            self._drop(request.target)
        return answer

    async def _changing(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        changed = request.method not in ("HEAD", "OPTIONS")
        try:
            answer = await call(request)
            changed = changed and not 400 <= answer.status < 500
        except (CircuitOpen, Overloaded):
            changed = False  # it was not sent
            raise
        finally:
            if changed:
                self._clear()  # what it changed, if it did, is in lists, too
        return answer

    def _keep(self, target: str, answer: UpstreamResponse) -> None:
        kind = answer.headers.get("Content-Type", "")
        private = {"no-store", "private"} & set(
            answer.headers.get("Cache-Control", "").replace(",", " ").lower().split()
        )
        if answer.rest is not None or private or not kind.startswith("application/json"):
            return
        self._drop(target)
        self._entries[target] = _Entry(now_s(), answer.body)
        self.size_bytes += _size(target, answer.body)
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _old(self, request: UpstreamRequest, why: str) -> UpstreamResponse | None:
        entry = self._entries.get(request.target)
        if entry is None:
            return None
        age_s = int(now_s() - entry.read_at)
        if age_s > self._max_age_s:
            self._drop(request.target)
            return None
        body = _without_stock(entry.body)
        if body is None:
            return None
        headers = CIMultiDict(
            {
                "Content-Type": "application/json",
                "Age": str(age_s),
                "Cache-Status": f"gateway; hit; ttl={-age_s}; detail={why}",
                "Cache-Control": "no-store",
            }
        )
        self._served()
        return UpstreamResponse(200, "OK", headers, body)

    def _drop(self, target: str) -> None:
        entry = self._entries.pop(target, None)
        if entry is not None:
            self.size_bytes -= _size(target, entry.body)

    def _clear(self) -> None:
        self._entries.clear()
        self.size_bytes = 0


def _size(target: str, body: bytes) -> int:
    return len(target) + len(body) + ENTRY_BYTES


def _without_stock(body: bytes) -> bytes | None:
    """``None`` when it is neither a product nor a page of them."""
    try:
        content: Any = orjson.loads(body)
        for each in content.get("items", [content]):
            each["available"] = None
    except (ValueError, TypeError, AttributeError):
        return None
    return orjson.dumps(content)
