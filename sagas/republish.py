"""``sagas republish``: fill a queue that was lost, or is new, from the sent events that are kept.

Only that queue gets them. What its participant has seen before its inbox absorbs, so nothing is to
be stopped meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sagas.check.loading import CannotLoad, load
from sagas.envelope import Message
from sagas.errors import BrokerUnavailable, DeclarationError, SettingError, StoreUnavailable
from sagas.flow import Choreography
from sagas.kept import KeptEvents
from sagas.ports import Store
from sagas.system import SystemClock, SystemIds
from sagas.tracker import plan_of
from sagas.tracker.dead_letters import dead_letters_of
from sagas.tracker.following import tracker_of
from sagas.wiring import BROKER_URLS, STORE_URLS, open_broker, open_stores

__all__ = ["Refillable", "add_parser", "republish"]

EXITS = "Exit codes: 0 done, 1 server or data out of reach, 2 wrong usage."
#: The tracker is beside every choreography, and its store has this name.
TRACKER = "tracker"


@runtime_checkable
class Refillable(Protocol):
    """What a broker on a server can do beside the port."""

    async def open(self, queues: Mapping[str, Sequence[str]]) -> None: ...

    async def refill(self, queue: str, messages: Sequence[Message]) -> None:
        """Put these into one queue; return when the server has confirmed them.

        Raises ``BrokerUnavailable``: some may be in it; a repeat is allowed.
        """
        ...

    async def close(self) -> None: ...


def queues_of(choreography: Choreography) -> dict[str, list[str]]:
    """All queues, the tracker's with them."""
    plan = plan_of(choreography)
    return choreography.queues(tracker_of(plan), dead_letters_of(plan.redaction))


async def republish(
    broker: Refillable,
    queue: str,
    topics: Iterable[str],
    stores: Iterable[Store],
    *,
    since: float,
) -> int:
    """Refill ``queue`` with what it hears of the events kept in ``stores``; how many those are."""
    heard, count = frozenset(topics), 0
    for store in stores:
        await store.open([KeptEvents.COLLECTION])
        kept = KeptEvents(store, SystemClock(), SystemIds(), for_s=0.0)
        async for page in kept.since(since):
            wanted = [each for each in page if not heard.isdisjoint((each.topic, "*"))]
            if wanted:
                await broker.refill(queue, wanted)
            count += len(wanted)
    return count


# ---------------------------------------------------------------------------------- command line


def add_parser(commands: Any) -> None:
    """Add ``republish`` to a command line's subcommands; it sets ``run``."""
    text = "fill a queue that was lost, or is new, from the sent events that are kept"
    parser: argparse.ArgumentParser = commands.add_parser(
        "republish", help=text, description=f"{text.capitalize()}.", epilog=EXITS
    )
    parser.add_argument(
        "target", metavar="MODULE:ATTR", help="the choreography, such as shop.flow:choreography"
    )
    parser.add_argument("queue", metavar="PARTICIPANT", help="whose queue is to be filled")
    parser.add_argument("--broker", required=True, metavar="URL", help=BROKER_URLS)
    parser.add_argument(
        "--store", default="sqlite:", metavar="URL", help=f"default: sqlite:; {STORE_URLS}"
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), metavar="DIR", help="default: data"
    )
    parser.add_argument(
        "--since",
        type=_seconds,
        metavar="SECONDS",
        help="only what was sent in the last so many seconds (default: all that is kept)",
    )
    parser.set_defaults(run=run)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < 10**9:
        raise argparse.ArgumentTypeError("must be a number of seconds above 0")
    return seconds


def run(options: argparse.Namespace) -> int:
    """Run the command. Returns the exit code."""
    try:
        choreography = load(options.target).choreography
        queues = queues_of(choreography)
        if options.queue not in queues:
            raise SettingError(f"no participant {options.queue!r}: there are {', '.join(queues)}")
        count = asyncio.run(_run(options, choreography, queues))
    except (CannotLoad, DeclarationError, SettingError) as error:
        print(f"sagas republish: {error}", file=sys.stderr)
        return 2
    except (BrokerUnavailable, StoreUnavailable) as error:
        print(f"sagas republish: {error}", file=sys.stderr)
        return 1
    print(f"{count} events are in the queue of {options.queue} again")
    return 0


async def _run(
    options: argparse.Namespace, choreography: Choreography, queues: Mapping[str, Sequence[str]]
) -> int:
    names = [*(participant.name for participant in choreography.participants), TRACKER]
    broker = open_broker(options.broker)
    try:
        if not isinstance(broker, Refillable):
            raise SettingError(f"{options.broker} loses no queue: there is nothing to refill")
        await broker.open(queues)
        since = 0.0 if options.since is None else time.time() - options.since
        async with open_stores(options.store, options.data_dir, names) as stores:
            topics = queues[options.queue]
            return await republish(broker, options.queue, topics, stores, since=since)
    finally:
        await broker.close()
