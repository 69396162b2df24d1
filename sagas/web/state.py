"""What every application of ours carries: its limits, its ids, and the sign that it is stopping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from sagas.ports import Ids
from sagas.web.problems import overloaded

__all__ = ["IDS", "OPENED", "SETTINGS", "STOPPING", "STREAMS", "Streams", "WebSettings"]


@dataclass(frozen=True, slots=True)
class WebSettings:
    """``arrival_s``: within this a request's headers and body must have arrived. It is a little
    less than the 10 s that are promised: even a thousand who are late are gone by then.

    ``header_count`` and ``header_limit_bytes`` bound a request's headers together.
    ``connections`` at the same time, and ``connections_each`` client (0: any number); a client is
    what ``counted_as`` makes of its address, and ``""`` is not counted. ``unsent_each_bytes``: what
    may wait here for the readers of one client, all its connections together (0: any amount); who
    reads too slowly beyond that is gone. ``reader_s``: who takes
    nothing of an answer for so long is gone.

    ``linger_s``: after an answer to an unread body (413), read on for so long, lest a reset of the
    connection eats the answer.
    ``cancel_on_disconnect`` cancels the handler when its client goes away: right for a proxy, whose
    upstream call nobody waits for; wrong for a service in the middle of a write. ``statuses`` maps
    codes of ``CommandRefused`` to HTTP statuses; the others are 409. ``name`` stands before each
    request in the log.
    """

    name: str = "http"
    body_limit_bytes: int = 64 * 1024
    header_count: int = 100
    header_limit_bytes: int = 32 * 1024
    arrival_s: float = 9.0
    reader_s: float = 30.0
    connections: int = 0
    connections_each: int = 0
    unsent_each_bytes: int = 0
    counted_as: Callable[[str], str] = str
    keepalive_s: float = 75.0
    linger_s: float = 2.0
    cancel_on_disconnect: bool = False
    max_streams: int = 1_000
    statuses: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Streams:
    """How many event streams are open now; bounded by ``limit``."""

    limit: int
    open: int = 0

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """Counts while the block runs. 503 when it would be too many."""
        if self.open >= self.limit:
            raise overloaded("Too many event streams are open here.", 5)
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1


SETTINGS: Final = web.AppKey("sagas.settings", WebSettings)
IDS: Final = web.AppKey("sagas.ids", Ids)
#: While it is cleared, only the routes of health and metrics answer: what the others work with is
#: still waited for.
OPENED: Final = web.AppKey("sagas.opened", asyncio.Event)
#: Set when the server stops: whatever waits for long (streams, ``Prefer: wait``) ends now.
STOPPING: Final = web.AppKey("sagas.stopping", asyncio.Event)
STREAMS: Final = web.AppKey("sagas.streams", Streams)
