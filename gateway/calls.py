"""A call to a service: what is asked, what comes back, and all the ways it can fail."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
import orjson
from multidict import CIMultiDict

from sagas.web.problems import PROBLEM_TYPE, Problem

__all__ = [
    "BadUpstream",
    "Call",
    "CircuitOpen",
    "ConnectTimeout",
    "Overloaded",
    "Policy",
    "RateLimited",
    "Refused",
    "Send",
    "Unreachable",
    "UpstreamRequest",
    "UpstreamResponse",
    "UpstreamTimeout",
    "Verdict",
    "now_s",
    "verdict",
]


def now_s() -> float:
    """Seconds of the running event loop's clock: monotonic, and virtual in tests."""
    return asyncio.get_running_loop().time()


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """One call. Policies may repeat it: nothing in it is used up, only its time.

    ``target`` is the raw path and query; ``deadline`` the moment (``now_s``) until which it must be
    answered, all attempts together; ``client`` whose it is, for shares. ``is_long``: the client
    asked to wait, or for an event stream, and for that reason the service may be silent for
    ``silence_s``; 0 is the usual limit. ``address``: where it comes from. ``is_hurried``: the
    client gives less time than a service may take.
    """

    service: str
    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes
    deadline: float
    client: str = ""
    address: str = ""
    silence_s: float = 0.0
    is_long: bool = False
    is_hurried: bool = False

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(0.0, self.deadline - now_s())


@dataclass(slots=True, eq=False)
class UpstreamResponse:
    """An answer: its ``body``; with ``rest``, only the beginning of it, and a stream to be read.

    Whoever gets one ``close``s it: a stream keeps its place in the bulkhead until then.
    """

    status: int
    reason: str
    headers: CIMultiDict[str]
    body: bytes = b""
    rest: aiohttp.ClientResponse | None = None
    _closing: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_problem(self) -> bool:
        """Whether it says what is wrong in the way that clients read (RFC 9457)."""
        kind = self.headers.get("Content-Type", "").partition(";")[0]
        return kind.strip().lower() == PROBLEM_TYPE

    def on_close(self, then: Callable[[], None]) -> None:
        self._closing.append(then)

    def close(self) -> None:
        """Read no further. Any number of times."""
        while self._closing:
            self._closing.pop()()
        if self.rest is not None:
            self.rest.close()


Call = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]
#: A call to the instance at this base address.
Send = Callable[[str, UpstreamRequest], Awaitable[UpstreamResponse]]
Policy = Callable[[Call, UpstreamRequest], Awaitable[UpstreamResponse]]


# -------------------------------------------------------------------------- it was tried, in vain


class BadUpstream(Problem):
    """No answer, or none that is HTTP. Nothing is known about what the call has done."""

    def __init__(self, service: str) -> None:
        super().__init__(502, "bad_upstream", f"The {service} service gave no proper answer.")


class Unreachable(BadUpstream):
    """There was no connection: the call has done nothing."""


class UpstreamTimeout(Problem):
    """The answer took too long. Nothing is known about what the call has done."""

    def __init__(self, service: str) -> None:
        detail = f"The {service} service did not answer in time."
        super().__init__(504, "upstream_timeout", detail)


class ConnectTimeout(UpstreamTimeout):
    """There was no connection in time: the call has done nothing."""


# ------------------------------------------------------------------------------ it was not tried


class Refused(Problem):
    """The gateway's own refusal: nothing was sent. ``Retry-After`` says when to come again."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        retry_after_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        wait = {"Retry-After": str(max(1, math.ceil(retry_after_s)))}
        super().__init__(status, code, detail, headers={**wait, **(headers or {})})


class CircuitOpen(Refused):
    """The service has been failing, and is left alone for a while."""

    def __init__(self, service: str, retry_after_s: float) -> None:
        detail = f"The {service} service has been failing and is left alone for a while."
        super().__init__(503, "circuit_open", detail, retry_after_s)


class Overloaded(Refused):
    """More is asked of the service than it can do at the same time."""

    def __init__(self, service: str) -> None:
        detail = f"The {service} service has more to do than it can do at the same time."
        super().__init__(503, "overloaded", detail, 1.0)


class RateLimited(Refused):
    """Too many requests."""

    def __init__(
        self, detail: str, retry_after_s: float, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(429, "rate_limited", detail, retry_after_s, headers)


# --------------------------------------------------------------------------------- what it means

#: ``shed``: the service refused to take on more. ``hurried``: the client would not wait. Neither
#: tells whether the service is well.
Verdict = Literal["answered", "failed", "shed", "hurried"]

#: No longer problem is looked into.
MAX_PROBLEM_BYTES = 4_096


def verdict(request: UpstreamRequest, outcome: UpstreamResponse | Problem) -> Verdict:
    """What came of a call that was made."""
    if outcome.status < 500:
        return "answered"
    # That there was no connection in time is the service's affair: so much time there was.
    if request.is_hurried and outcome.status == 504 and not isinstance(outcome, ConnectTimeout):
        return "hurried"
    if isinstance(outcome, UpstreamResponse) and _is_shed(outcome):
        return "shed"
    return "failed"


def _is_shed(answer: UpstreamResponse) -> bool:
    if answer.status != 503 or answer.rest is not None or not answer.is_problem:
        return False
    if len(answer.body) > MAX_PROBLEM_BYTES:
        return False
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(said, dict) and said.get("code") == "overloaded"
