"""How long things take between a process and the servers."""

from __future__ import annotations

import random
from collections.abc import Callable

from sagas.simulate.loop import WorldLoop

__all__ = ["Network"]

#: In an even world servers work at these moments only. A power of two, so that they are exact.
TICK_S = 1 / 512
#: The share of what is there when it is expected; the rest takes some ticks more.
PUNCTUAL = 0.94
MORE_TICKS = 4


class Network:
    """One source of chance for everything that is on its way.

    ``even``: servers work in ticks, so much happens at once and participants have batches to
    decide, as under load. In an uneven world everything comes by itself.
    """

    def __init__(self, loop: WorldLoop, chance: random.Random, *, even: bool) -> None:
        self.loop = loop
        self.even = even
        self.chance = chance
        #: A number in [0, 1).
        self.draw = chance.random

    def at_once(self, share: float) -> bool:
        """Whether an answer takes no time: all in an even world, such a share in others."""
        return self.even or self.draw() < share

    def send(self, longest_s: float, callback: Callable[..., object], *arguments: object) -> None:
        """Have ``callback`` called where this arrives, within ``longest_s`` (or a few ticks)."""
        part, loop = self.draw(), self.loop
        if self.even:
            ticks = int(longest_s / TICK_S) or 1
            if part > PUNCTUAL:
                ticks += 1 + int(part * 1_000) % MORE_TICKS
            loop.at((int(loop.now / TICK_S) + ticks) * TICK_S, callback, *arguments)
        else:
            loop.at(loop.now + part * longest_s, callback, *arguments)
