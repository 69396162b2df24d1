"""The abstract model: what a choreography's declarations allow to happen to one saga.

A state is one integer of bits. An event that was sent stays deliverable for ever: that covers every
order, delay and repeat of messages. The moves follow ``sagas.rules`` to the letter; the effect and
the write of a step, and those of an undo, are two of them each.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel

from sagas.check.bits import Bits
from sagas.check.moves import moves_of
from sagas.flow import Choreography

__all__ = ["Model"]


class Model(Bits):
    """The bits and moves of one choreography; ``0`` is the state before anything happened.

    ``tombstones=False``: what would happen if an undo that comes first left no trace. ``watched``
    are events to keep track of although no step depends on them. ``loose``: a reaction may say
    whatever its code leaves open, and need not say all that it declares.
    """

    def __init__(
        self,
        choreography: Choreography,
        *,
        tombstones: bool = True,
        watched: Iterable[type[BaseModel]] = (),
        loose: bool = False,
    ) -> None:
        super().__init__(choreography, tombstones=tombstones, watched=watched, loose=loose)
        self.moves = moves_of(self)
