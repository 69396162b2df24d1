"""Events of simulated sagas as a stream would carry them: mixed, doubled, late, out of order, lost.

The sagas are the simulator's own, with all its faults; what a stream may add is added here.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import fields, replace

from participants.choreography import shop
from participants.insight import business
from participants.simulation import world
from sagas.envelope import Message, rfc3339, timestamp
from sagas.simulate import Invariant, Truth, World, invariant, play
from sagas.tracker import concerns_a_saga, plan_of

__all__ = ["PLAN", "stream", "told"]

PLAN = plan_of(shop, read_facts=business.read)
#: Between two worlds, so that they fall into different minutes.
APART_S = 1.0
LATE_BY_S = 400.0
AT_ONCE = 40


class _Listening(World):
    @property
    def all_invariants(self) -> tuple[Invariant, ...]:
        return tuple(self.invariants)


def told(count: int) -> Iterator[list[Message]]:
    """Sagas, each as the events that its tracker heard, in the order of their arrival."""
    left = count
    for seed in itertools.count():
        for messages in _world(seed):
            yield [_moved(message, f"{seed}-", seed * APART_S) for message in messages]
            left -= 1
            if not left:
                return


def _world(seed: int) -> list[list[Message]]:
    found: list[list[Message]] = []

    @invariant
    def listen(truth: Truth) -> Iterator[str]:
        found.clear()
        for saga_id, view in truth.views().items():
            events = {message.id: message for message in truth.events(saga_id)}
            found.append([events[each.id] for each in view.entries if each.id in events])
        return iter(())

    given = {each.name: getattr(world, each.name) for each in fields(World)}
    listening = _Listening(**{**given, "invariants": [listen], "bound_s": 90.0})
    play(listening, listening.schedule(seed))
    return found


def _moved(message: Message, prefix: str, by_s: float) -> Message:
    """The same in a world of its own: all worlds use the same ids, and the same moments."""
    cause = message.causation_id
    assert message.saga_id is not None
    return replace(
        message.without_event(),
        id=prefix + message.id,
        saga_id=prefix + message.saga_id,
        causation_id=None if cause is None else prefix + cause,
        # Between processes moments travel in whole microseconds.
        time=timestamp(rfc3339(message.time + by_s)),
        encoded=None,
    )


def stream(sagas: Iterator[list[Message]], chance: random.Random) -> Iterator[Message]:
    """Their events, some forty sagas at a time, with all that may happen on the way."""
    under_way: list[list[Message]] = []
    for messages in sagas:
        under_way.append(_troubled([each for each in messages if concerns_a_saga(each)], chance))
        if len(under_way) >= AT_ONCE:
            yield from _some(under_way, chance)
    while under_way:
        yield from _some(under_way, chance)


def _some(under_way: list[list[Message]], chance: random.Random) -> Iterator[Message]:
    saga = chance.choice(under_way)
    if saga:
        yield saga.pop(0)
    if not saga:
        under_way.remove(saga)


def _troubled(messages: list[Message], chance: random.Random) -> list[Message]:
    whim = chance.random()
    if whim < 0.1:
        chance.shuffle(messages)
    elif whim < 0.2 and messages:
        # Lost: the tracker may never hear of it.
        messages.pop(chance.randrange(len(messages)))
    elif whim < 0.25 and len(messages) > 2:
        place = chance.randrange(1, len(messages))
        messages[place] = replace(messages[place], time=messages[place].time - LATE_BY_S)
    for _ in range(chance.choice((0, 0, 0, 1, 3)) if messages else 0):
        messages.insert(chance.randrange(len(messages) + 1), chance.choice(messages))
    return messages
