"""Passing a stream on as it comes, at its reader's pace."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from gateway.calls import UpstreamResponse
from sagas.web.state import STOPPING

__all__ = ["Pace", "relay"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a long answer may take, and an event stream; and how long its reader may sleep."""

    answer_s: float
    stream_s: float
    reader_s: float


async def relay(
    request: web.Request,
    answer: UpstreamResponse,
    rest: aiohttp.ClientResponse,
    headers: CIMultiDict[str],
    pace: Pace,
) -> web.StreamResponse:
    """Send on each piece before the next is read: nothing is collected for a slow reader.

    An event stream whose time is over ends in good order, and its reader may come again with
    ``Last-Event-ID``; another answer breaks off.
    """
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    may_end = rest.content_type == "text/event-stream"
    stopping = request.app[STOPPING]
    stop = asyncio.ensure_future(stopping.wait())
    stop.add_done_callback(lambda _task: rest.close())
    whole = asyncio.timeout(pace.stream_s if may_end else pace.answer_s)
    try:
        await response.prepare(request)
        async with whole:
            await _write(response, answer.body, pace.reader_s)
            async for piece in rest.content.iter_any():
                await _write(response, piece, pace.reader_s)
    except (aiohttp.ClientError, TimeoutError) as error:
        if not (may_end and (stopping.is_set() or whole.expired())):
            # Half an answer is out: only a broken connection tells the client that it is one.
            raise ConnectionResetError("the answer broke off") from error
    finally:
        stop.cancel()
    return response


async def _write(response: web.StreamResponse, piece: bytes, limit_s: float) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await response.write(piece)
    except TimeoutError:
        raise ConnectionResetError("the reader takes nothing") from None
