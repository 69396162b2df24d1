"""What strikes the shop, and when: drawn from a seed. The same seed deals the same blows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from random import Random

__all__ = ["DECK", "SERVERS", "Blow", "Kind", "schedule"]

SERVICES = ("product", "order", "customer", "payment", "inventory", "shipping", "gateway")
SERVERS = ("rabbitmq", "mongodb")
#: Whose queues are filled: those without which no order gets on.
FILLED = ("order", "payment", "inventory", "shipping")
#: Seconds between two blows. A frozen server or a restart lasts longer: then they come on top.
PAUSE_S = (1.0, 3.0)


class Kind(StrEnum):
    KILL_SERVICE = "kill a service"
    KILL_TRACKER = "kill the tracker"
    RESTART_RABBITMQ = "restart RabbitMQ"
    RESTART_MONGODB = "restart MongoDB"
    FREEZE_RABBITMQ = "freeze RabbitMQ"
    FREEZE_MONGODB = "freeze MongoDB"
    CUT = "cut connections"
    FILL_QUEUE = "fill a queue"


#: How many of each there are in every 25.
DECK = {
    Kind.KILL_SERVICE: 9,
    Kind.KILL_TRACKER: 2,
    Kind.RESTART_RABBITMQ: 2,
    Kind.RESTART_MONGODB: 2,
    Kind.FREEZE_RABBITMQ: 1,
    Kind.FREEZE_MONGODB: 1,
    Kind.CUT: 5,
    Kind.FILL_QUEUE: 3,
}


@dataclass(frozen=True, slots=True)
class Blow:
    """``target`` is a service or a server; ``how`` a signal, or how many connections."""

    number: int
    after_s: float
    kind: Kind
    target: str
    how: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.target}" + (f" ({self.how})" if self.how else "")


def schedule(seed: str, count: int) -> list[Blow]:
    """The blows of this seed. A longer schedule begins with the shorter one's."""
    return list(islice(_blows(Random(f"{seed}/blows")), count))


def _blows(chance: Random) -> Iterator[Blow]:
    number = 0
    while True:
        deck = [kind for kind, times in DECK.items() for _ in range(times)]
        chance.shuffle(deck)
        for kind in deck:
            number += 1
            yield Blow(number, chance.uniform(*PAUSE_S), kind, *_drawn(kind, chance))


def _drawn(kind: Kind, chance: Random) -> tuple[str, str]:
    """Whom it strikes, and how."""
    match kind:
        case Kind.KILL_SERVICE:
            return chance.choice(SERVICES), "SIGKILL"
        case Kind.KILL_TRACKER:
            return "tracker", "SIGKILL"
        case Kind.RESTART_RABBITMQ | Kind.RESTART_MONGODB:
            target = "rabbitmq" if kind is Kind.RESTART_RABBITMQ else "mongodb"
            return target, chance.choice(("SIGKILL", "SIGKILL", "in good order"))
        case Kind.FREEZE_RABBITMQ | Kind.FREEZE_MONGODB:
            return "rabbitmq" if kind is Kind.FREEZE_RABBITMQ else "mongodb", "SIGSTOP"
        case Kind.CUT:
            return chance.choice(SERVERS), chance.choice(("one", "all"))
        case Kind.FILL_QUEUE:
            return chance.choice(FILLED), ""
