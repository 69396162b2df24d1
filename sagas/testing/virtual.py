"""Virtual time: an event loop on which waiting costs nothing and nothing depends on the machine."""

from __future__ import annotations

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from sagas.ports import Clock
from sagas.system import uuid7

__all__ = ["SeededIds", "VirtualClock", "VirtualLoop", "run"]

T = TypeVar("T")

#: A fixed "now" at which every virtual world begins: 2026-01-01T00:00:00Z.
EPOCH = 1_767_225_600.0


class _JumpingSelector(selectors.BaseSelector):
    """A selector that, instead of waiting, moves the loop's time on."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            # No timer is set: only another thread could still wake this loop.
            ready = self._real.select(5.0)
            if not ready:
                raise RuntimeError("deadlock: every task waits and no timer is set")
            return ready
        self.now += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def get_map(self) -> Any:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time jumps to the next timer whenever all tasks wait.

    Not for threads or sockets with a life of their own: time would run away from them.
    """

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class VirtualClock:
    """The ``Clock`` port on the running loop's time, with an offset that tests may move."""

    def __init__(self, skew_s: float = 0.0) -> None:
        self.skew_s = skew_s

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time() + self.skew_s

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededIds:
    """The ``Ids`` port from one seed: the same run makes the same ids."""

    def __init__(self, seed: int | str, clock: Clock) -> None:
        self._random = random.Random(seed)
        self._clock = clock

    def new(self) -> str:
        return uuid7(self._clock.now(), self._random.getrandbits(74))

    def random(self) -> float:
        return self._random.random()


def run(main: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
