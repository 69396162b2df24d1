"""Hashing and checking passwords: Argon2id, beside the event loop, a few at a time."""

from __future__ import annotations

import asyncio
import os
import secrets
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from sagas.web.problems import overloaded

__all__ = ["Passwords"]

T = TypeVar("T")

#: Beyond this many waiting, an answer would come too late to be of use to anybody.
MAX_WAITING = 256


class Passwords:
    """The cost defaults to OWASP's first choice for Argon2id. Tests pass a cheaper one.

    One hash takes some 35 ms of a core and 19 MiB: ``at_once`` (default: one per core) bounds
    both, and more than 256 waiting are refused with 503.
    """

    def __init__(
        self,
        *,
        memory_kib: int = 19_456,
        passes: int = 2,
        lanes: int = 1,
        at_once: int | None = None,
    ) -> None:
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=lanes)
        self._turns = asyncio.Semaphore(at_once or os.cpu_count() or 1)
        self._waiting = 0
        self._dummy: str | None = None

    async def hash(self, password: str) -> str:
        """A new salted hash, its parameters included."""
        return await self._aside(lambda: self._hasher.hash(_normal(password)))

    async def verify(self, hash: str | None, password: str) -> bool:
        """Whether ``password`` made ``hash``.

        ``None`` stands for an account that does not exist: it costs the same time, so that the
        time does not tell which accounts exist.
        """
        if self._dummy is None:  # of a password that nobody knows: it matches nothing
            self._dummy = await self.hash(secrets.token_urlsafe())
        against = hash or self._dummy
        return await self._aside(lambda: self._matches(against, _normal(password)))

    def _matches(self, hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _aside(self, work: Callable[[], T]) -> T:
        if self._waiting >= MAX_WAITING:
            raise overloaded("Too many passwords are being checked at once; try again.")
        self._waiting += 1
        try:
            async with self._turns:
                return await asyncio.to_thread(work)
        finally:
            self._waiting -= 1


def _normal(password: str) -> str:
    # The same password typed on another machine may come as other code points (NIST 800-63B).
    return unicodedata.normalize("NFKC", password)
