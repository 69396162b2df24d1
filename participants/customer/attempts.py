"""Limiting failed sign-ins per account, so that nobody guesses passwords at leisure.

Per address the gateway limits them: only it knows whose request it was. Kept in this process's
memory: with several instances each allows as many. To share the count, put another class with the
same ``run`` behind ``SessionRoutes``.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from sagas.ports import Clock
from sagas.web.problems import Problem

__all__ = ["SignInLimit"]

T = TypeVar("T")


@dataclass(slots=True)
class _Account:
    #: One attempt at a time: else all of a burst would be under way before the first has failed.
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0
    #: When the latest attempts failed, oldest first.
    failures: deque[float] = field(default_factory=deque)


class SignInLimit:
    """At most ``failures`` failed attempts per account within any ``window_s`` seconds.

    An account need not exist. What is remembered is bounded: checking passwords is so slow that
    ``max_accounts`` cannot be pushed out within one window.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int = 5,
        window_s: float = 60.0,
        max_accounts: int = 10_000,
    ) -> None:
        self._clock = clock
        self._failures = failures
        self._window_s = window_s
        self._max_accounts = max_accounts
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    async def run(self, name: str, attempt: Callable[[], Awaitable[T | None]]) -> T | None:
        """What ``attempt`` comes to; ``None`` counts as failed. Raises 429 without trying."""
        account = self._accounts.setdefault(name, _Account())
        account.users += 1
        try:
            async with account.turn:
                self._check(account)
                result = await attempt()
                if result is None:
                    account.failures.append(self._clock.now())
                    self._accounts.move_to_end(name)
                return result
        finally:
            account.users -= 1
            self._forget(name, account)

    def _check(self, account: _Account) -> None:
        now = self._clock.now()
        while account.failures and account.failures[0] <= now - self._window_s:
            account.failures.popleft()
        if len(account.failures) >= self._failures:
            raise self._limited(account.failures[0] + self._window_s - now)

    def _limited(self, wait_s: float) -> Problem:
        wait = max(1, math.ceil(wait_s))
        headers = {
            "Retry-After": str(wait),
            "RateLimit-Policy": f'"sign-in";q={self._failures};w={self._window_s:.0f}',
            "RateLimit": f'"sign-in";r=0;t={wait}',
        }
        detail = "Too many failed sign-ins to this account; try again later."
        return Problem(429, "rate_limited", detail, headers=headers)

    def _forget(self, name: str, account: _Account) -> None:
        """Drop what nobody needs: this account if it never failed, and the longest unused."""
        if not account.users and not account.failures:
            self._accounts.pop(name, None)
        while len(self._accounts) > self._max_accounts:
            oldest = next(iter(self._accounts))
            if self._accounts[oldest].users:
                break  # somebody is in it: it will be looked at again when they leave
            del self._accounts[oldest]
