"""Server-sent events (the HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from sagas.web.state import STOPPING, STREAMS

__all__ = ["StreamEvent", "event_stream"]

#: Id (what a client sends as ``Last-Event-ID``), event name, data.
StreamEvent = tuple[str, str, str | bytes]

HEARTBEAT_S = 15.0
#: A reader who takes nothing for so long is gone.
WRITE_S = 30.0

_HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx and its like would collect the events
}


async def event_stream(
    request: web.Request, events: AsyncIterator[StreamEvent], *, heartbeat_s: float = HEARTBEAT_S
) -> web.StreamResponse:
    """Send each event as it comes, and a comment in between so that a silent line shows as dead.

    Ends with the iterator, when the server stops, or when the reader is gone; the iterator is
    closed in each case. The reader's pace is the iterator's: nothing is collected here.
    """
    try:
        with request.app[STREAMS].one_more():
            response = web.StreamResponse(headers=_HEADERS)
            try:
                await response.prepare(request)
                if request.method != "HEAD":
                    await _pump(response, events, request.app[STOPPING], heartbeat_s)
            except (ConnectionError, TimeoutError):
                response.force_close()  # The reader left, or stopped reading.
            return response
    finally:
        await _close(events)


async def _pump(
    response: web.StreamResponse,
    events: AsyncIterator[StreamEvent],
    stopping: asyncio.Event,
    heartbeat_s: float,
) -> None:
    stop = asyncio.ensure_future(stopping.wait())
    upcoming = asyncio.ensure_future(_next(events))
    try:
        while True:
            await asyncio.wait(
                {upcoming, stop}, timeout=heartbeat_s, return_when=asyncio.FIRST_COMPLETED
            )
            if upcoming.done():
                event = upcoming.result()
                if event is None:
                    return
                upcoming = asyncio.ensure_future(_next(events))
                chunk = _message(*event)
            elif stop.done():
                return
            else:
                chunk = b": still here\n\n"
            async with asyncio.timeout(WRITE_S):
                await response.write(chunk)
    finally:
        stop.cancel()
        upcoming.cancel()
        # An iterator that still runs could not be closed.
        await asyncio.wait({upcoming})


async def _next(events: AsyncIterator[StreamEvent]) -> StreamEvent | None:
    return await anext(events, None)


async def _close(events: AsyncIterator[StreamEvent]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()


def _message(name: str, event: str, content: str | bytes) -> bytes:
    text = content.decode() if isinstance(content, bytes) else content
    lines = [f"id: {_one_line(name)}", f"event: {_one_line(event)}"]
    # Exactly the three line ends that a reader of the stream knows; others are part of the text.
    lines += (
        f"data: {line}" for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )
    return ("\n".join(lines) + "\n\n").encode()


def _one_line(text: str) -> str:
    return text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
