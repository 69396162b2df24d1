"""Waiting for a store that is away: an outage pauses, and loses nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sagas.errors import StoreUnavailable
from sagas.ports import Clock

__all__ = ["patiently"]

log = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0


async def patiently(
    call: Callable[[], Awaitable[T]],
    clock: Clock,
    who: str,
    failed: Callable[[], None] = lambda: None,
) -> T:
    """``call`` until the store answers; ``failed`` hears of every time it did not."""
    wait_s = FIRST_WAIT_S
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            failed()
            log.warning("%s waits for its store: %s", who, error)
            await clock.sleep(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)
