"""A circuit breaker on aiobreaker 1.2, which decides when to open and close, with what it lacks.

What is different here, and why:

- It opens on a *rate* of failures: its storage counts over a sliding window and gives it a failure
  percentage for the "failures in a row" that it compares with its limit.
- While half-open it would let every concurrent call through; here exactly one probes, and gives its
  place back when its caller goes away (``CancelledError`` passes by the breaker's own handler).
- It would time its opening by the wall clock, and mixes local time with UTC: here the event loop's
  monotonic clock says when to probe, and then it is told to be half-open.
- A call that began before it opened may end later: it neither opens it anew nor prolongs its wait.
- The call that opens it gets ``CircuitBreakerError``: here it gets its own answer or failure.
"""

from __future__ import annotations

from collections.abc import Callable

from aiobreaker import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitBreakerState,
)
from aiobreaker.state import CircuitBreakerBaseState
from aiobreaker.storage.memory import CircuitMemoryStorage

from gateway.calls import Call, CircuitOpen, UpstreamRequest, UpstreamResponse, now_s, verdict
from gateway.counts import SlidingCount
from gateway.settings import UpstreamLimits
from sagas.web.problems import Problem

__all__ = ["Breaker", "Changed"]

#: Told of each change of state: the old one's name and the new one's.
Changed = Callable[[str, str], None]


class _BadAnswer(Exception):
    """An answer that counts as a failure: aiobreaker counts only what is raised."""

    def __init__(self, answer: UpstreamResponse) -> None:
        super().__init__(answer.status)
        self.answer = answer


class _NoVerdict(BaseException):
    """What says nothing about the upstream's health. No ``Exception``: the breaker takes neither
    success nor failure from it, as from a cancelled call."""

    def __init__(self, outcome: UpstreamResponse | Problem) -> None:
        super().__init__(outcome.status)
        self.outcome = outcome


class _Window(CircuitMemoryStorage):
    """Counts calls and failures. aiobreaker's "counter" is the percentage of failures among them,
    and "reset" is what it calls after each success."""

    def __init__(self, limits: UpstreamLimits) -> None:
        super().__init__(CircuitBreakerState.CLOSED)
        self._min_calls = limits.breaker_min_calls
        self.calls = SlidingCount(limits.breaker_window_s)
        self.failures = SlidingCount(limits.breaker_window_s)

    def increment_counter(self) -> None:
        self.calls.add()
        self.failures.add()

    def reset_counter(self) -> None:
        self.calls.add()

    def clear(self) -> None:
        self.calls.clear()
        self.failures.clear()

    @property
    def percent(self) -> float:
        calls = self.calls.total()
        return 100.0 * self.failures.total() / calls if calls else 0.0

    @property
    def counter(self) -> int:
        # Asked after a failure. One of a call from before the breaker opened changes nothing.
        if self.state is not CircuitBreakerState.CLOSED or self.calls.total() < self._min_calls:
            return 0
        return int(self.percent)


class Breaker(CircuitBreakerListener):
    """The breaker of one instance, as a policy. Timeouts, lost connections and 5xx are failures,
    but for what ``verdict`` says."""

    def __init__(self, limits: UpstreamLimits, changed: Changed) -> None:
        self._open_s = limits.breaker_open_s
        self._changed = changed
        self._window = _Window(limits)
        self._breaker = CircuitBreaker(
            fail_max=limits.breaker_failure_percent, listeners=[self], state_storage=self._window
        )
        self._opened_at = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half_open``."""
        return self._window.state.name.lower()

    @property
    def counts(self) -> tuple[int, float]:
        """Calls in the window, and what percentage of them failed."""
        return self._window.calls.total(), self._window.percent

    @property
    def retry_after_s(self) -> float:
        """How long until a call may pass, as far as is known; 0 when one may now."""
        if self._window.state is CircuitBreakerState.CLOSED:
            return 0.0
        rest = max(0.0, self._opened_at + self._open_s - now_s())
        return max(rest, 1.0) if self._probing else rest

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        """Raises ``CircuitOpen`` while it is open, and while another call probes."""
        if (wait_s := self.retry_after_s) > 0:
            raise CircuitOpen(request.service, wait_s)
        if self._window.state is CircuitBreakerState.CLOSED:
            return await self._run(call, request)
        if self._window.state is CircuitBreakerState.OPEN:
            self._breaker.half_open()
        self._probing = True
        try:
            return await self._run(call, request)
        finally:
            self._probing = False

    async def _run(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        try:
            answer: UpstreamResponse = await self._breaker.call_async(_judged, call, request)
            return answer
        except _BadAnswer as bad:
            return bad.answer
        except _NoVerdict as none:
            if isinstance(none.outcome, Problem):
                raise none.outcome from None
            return none.outcome
        except CircuitBreakerError as opened:
            # This call was the last straw; what came of it is the cause.
            cause = opened.__cause__
            if isinstance(cause, _BadAnswer):
                return cause.answer
            raise cause or opened from None

    def state_change(
        self, breaker: CircuitBreaker, old: CircuitBreakerBaseState, new: CircuitBreakerBaseState
    ) -> None:
        """What aiobreaker tells its listeners."""
        if new.state is CircuitBreakerState.OPEN:
            self._opened_at = now_s()
        elif new.state is CircuitBreakerState.CLOSED:
            self._window.clear()
        self._changed(old.state.name.lower(), new.state.name.lower())


async def _judged(call: Call, request: UpstreamRequest) -> UpstreamResponse:
    try:
        answer = await call(request)
    except Problem as problem:
        if verdict(request, problem) != "failed":
            raise _NoVerdict(problem) from None
        raise
    found = verdict(request, answer)
    if found == "answered":
        return answer
    raise _BadAnswer(answer) if found == "failed" else _NoVerdict(answer)
