"""Repeating calls that failed: with tenacity, within a budget, and only what may be repeated."""

from __future__ import annotations

from tenacity import AsyncRetrying, RetryCallState, retry_if_result

from gateway.calls import BadUpstream, Call, UpstreamRequest, UpstreamResponse, UpstreamTimeout
from gateway.counts import SlidingCount
from gateway.settings import UpstreamLimits
from sagas.ports import Clock, Ids
from sagas.web.problems import Problem

__all__ = ["Budget", "Retries", "is_repeatable"]

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_IDEMPOTENT = frozenset({"PUT", "DELETE"})
#: What another try may mend. 500 is a fault, which would only happen again.
_PASSING = frozenset({502, 503, 504})


def is_repeatable(request: UpstreamRequest) -> bool:
    """Whether a second call does no more than the first one.

    A PUT with ``If-Match`` would: if the first was done and only its answer lost, the second is
    told that its version is stale.
    """
    if request.method in _SAFE:
        return True
    if request.method in _IDEMPOTENT:
        return "If-Match" not in request.headers and "If-Unmodified-Since" not in request.headers
    return request.method == "POST" and "Idempotency-Key" in request.headers


class Budget:
    """Retries as a share of calls, both within one sliding window: whatever fails, and however
    much of it, the load grows by no more than this share.

    ``floor`` retries are always allowed in the window, for services that are hardly ever called.
    """

    def __init__(self, limits: UpstreamLimits) -> None:
        self._percent = limits.retry_budget_percent
        self._floor = limits.retry_floor
        self.calls = SlidingCount(limits.retry_window_s)
        self.retries = SlidingCount(limits.retry_window_s)

    def spend(self) -> bool:
        """One retry, if there is room for it."""
        allowed = max(self._floor, self.calls.total() * self._percent // 100)
        if self.retries.total() >= allowed:
            return False
        self.retries.add()
        return True


#: What a call came to; failures that another try may mend are values here.
_Outcome = UpstreamResponse | BadUpstream | UpstreamTimeout


class Retries:
    """A policy. The waits grow exponentially, each a random share of its full length ("full
    jitter"), or are as long as the service asks; the next try begins only if its time allows.

    Who waits is cancelled when the client goes: nothing is repeated for nobody.
    """

    def __init__(self, limits: UpstreamLimits, budget: Budget, clock: Clock, ids: Ids) -> None:
        self._attempts = limits.retry_attempts
        self._backoff_s = limits.retry_backoff_ms / 1_000
        self._longest_s = limits.retry_backoff_max_ms / 1_000
        self._budget = budget
        self._clock = clock
        self._ids = ids

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        first = await _try(call, request)
        self._budget.calls.add()  # what was refused unsent is no load, and came not here
        if _is_final(first) or not is_repeatable(request):
            return _answer(first)
        # Only what failed pays for the retry machinery, which goes on from the first outcome.
        return _answer(await self._again(call, request, first))

    async def _again(self, call: Call, request: UpstreamRequest, first: _Outcome) -> _Outcome:
        is_first = True

        async def attempt() -> _Outcome:
            nonlocal is_first
            if is_first:
                is_first = False
                return first
            return await _try(call, request)

        def is_over(state: RetryCallState) -> bool:
            return (
                state.attempt_number >= self._attempts
                or state.upcoming_sleep >= request.left_s
                or _asked_s(_of(state)) > self._longest_s
                or not self._budget.spend()  # last: it pays for the retry that now follows
            )

        retrying = AsyncRetrying(
            retry=retry_if_result(lambda outcome: not _is_final(outcome)),
            wait=self._wait_s,
            stop=is_over,
            before_sleep=lambda state: _let_go(_of(state)),
            sleep=self._clock.sleep,
            retry_error_callback=_of,
        )
        return await retrying(attempt)

    def _wait_s(self, state: RetryCallState) -> float:
        doubled = float(2 ** (state.attempt_number - 1))
        longest_s = min(self._backoff_s * doubled, self._longest_s)
        return max(longest_s * self._ids.random(), _asked_s(_of(state)))


def _of(state: RetryCallState) -> _Outcome:
    assert state.outcome is not None  # asked after an attempt only
    outcome: _Outcome = state.outcome.result()
    return outcome


async def _try(call: Call, request: UpstreamRequest) -> _Outcome:
    try:
        return await call(request)
    except (BadUpstream, UpstreamTimeout) as error:
        return error


def _answer(outcome: _Outcome) -> UpstreamResponse:
    if isinstance(outcome, Problem):
        raise outcome
    return outcome


def _is_final(outcome: _Outcome) -> bool:
    return isinstance(outcome, UpstreamResponse) and outcome.status not in _PASSING


def _asked_s(outcome: _Outcome) -> float:
    """How long the service itself asks to be left alone."""
    said = outcome.headers.get("Retry-After", "")
    return float(said) if said.isascii() and said.isdigit() else 0.0


def _let_go(outcome: _Outcome) -> None:
    if isinstance(outcome, UpstreamResponse):
        outcome.close()
