"""The real clock and real ids."""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import secrets
import time

__all__ = ["SystemClock", "SystemIds", "allow_many_files", "collect_rarely", "uuid7"]

#: Both sides of every connection of a busy gateway, and some to spare.
MANY_FILES = 32_768


def allow_many_files() -> int:
    """Raise this process's limit of open files as far as it may go, up to ``MANY_FILES``: the usual
    1,024 are fewer than one attacker opens connections. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY_FILES if hard == resource.RLIM_INFINITY else min(MANY_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def collect_rarely() -> None:
    """What lives long here holds no cycles: the default collector would scan it all the time, for a
    fifth of a service's CPU, and in the gateway whenever many calls hang at once, while everybody
    else waits. What is imported so far is never garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


class SystemClock:
    """Wall-clock time of this machine; waiting on the event loop."""

    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """UUIDv7 (RFC 9562) from the wall clock and the system's random source.

    Randomness is fetched for many ids at once: a system call for each showed in the profile.
    """

    def __init__(self) -> None:
        self._pool = b""
        self._used = 0

    def new(self) -> str:
        if self._used >= len(self._pool):
            self._pool, self._used = secrets.token_bytes(10 * 1_000), 0
        bits = self._pool[self._used : self._used + 10]
        self._used += 10
        return uuid7(time.time(), int.from_bytes(bits) >> 6)

    def random(self) -> float:
        return random.random()


def uuid7(now: float, randomness: int) -> str:
    """A UUIDv7: 48 bits of milliseconds, then 74 random bits around version and variant."""
    value = (int(now * 1000) & (1 << 48) - 1) << 80
    value |= 0x7 << 76 | (randomness >> 62 & 0xFFF) << 64
    value |= 0b10 << 62 | randomness & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
