"""Running a reaction that reaches outside: time limit, retries in place, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from sagas.errors import Retryable
from sagas.ports import Clock, Ids
from sagas.reaction import RetryPolicy

__all__ = ["IN_PLACE_S", "Exhausted", "attempt_with_retries"]

T = TypeVar("T")

#: A wait longer than this is stored and the delivery acked, so that an outage of one provider
#: neither fills the prefetch window nor starts over after a crash.
IN_PLACE_S = 1.0


class Exhausted(Retryable):
    """Tries in place are over: ``attempts`` were made; the next, if any, is due in ``wait_s``."""

    def __init__(self, attempts: int, wait_s: float, last: BaseException) -> None:
        super().__init__(str(last) or type(last).__name__)
        self.attempts = attempts
        self.wait_s = wait_s


async def attempt_with_retries(
    call: Callable[[int], Awaitable[T]],
    policy: RetryPolicy,
    *,
    first_attempt: int,
    clock: Clock,
    ids: Ids,
) -> T:
    """``call(attempt)`` until it succeeds, retrying while the wait between tries is short.

    Raises ``Exhausted`` when the next wait would be long or the attempts are spent; every other
    exception passes through at once.
    """
    try:
        return await _limited(call, first_attempt, policy)
    except (Retryable, TimeoutError) as error:
        first_error: BaseException = error

    # Only what failed pays for the retry machinery: the usual case is one call.
    made = first_attempt
    wait_s = policy.wait_s(made, ids.random())
    last = first_error

    def stop(state: RetryCallState) -> bool:
        return made >= policy.attempts or wait_s > IN_PLACE_S

    async def once() -> T:
        nonlocal made, wait_s, last
        made += 1
        try:
            return await _limited(call, made, policy)
        except (Retryable, TimeoutError) as error:
            last = error
            wait_s = policy.wait_s(made, ids.random())
            raise

    if made < policy.attempts and wait_s <= IN_PLACE_S:
        await clock.sleep(wait_s)
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((Retryable, TimeoutError)),
            wait=lambda state: wait_s,
            stop=stop,
            sleep=clock.sleep,
            reraise=True,
        )
        try:
            return await retrying(once)
        except (Retryable, TimeoutError):
            pass  # told below, with the count and the next wait
    raise Exhausted(made, wait_s, last) from last


async def _limited(call: Callable[[int], Awaitable[T]], attempt: int, policy: RetryPolicy) -> T:
    async with asyncio.timeout(policy.time_limit_s):
        return await call(attempt)
