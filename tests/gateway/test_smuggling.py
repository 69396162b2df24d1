"""Requests that two implementations of HTTP would read as two different ones: refused.

Behind each stands one more request. Whoever reads the first in another way than we do would find
that one in its body, or in ours: it must never be executed, and the connection must end.
"""

from __future__ import annotations

import asyncio
import json

import pytest
from aiohttp import web

NEXT = b"GET /api/products/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


def post(headers: bytes, body: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    start = b"POST /api/products/first " + version + b"\r\nHost: x\r\n"
    return start + headers + b"\r\n" + body + NEXT


def encoded(value: bytes) -> bytes:
    return post(b"Transfer-Encoding:" + value + b"\r\n", b"0\r\n\r\n")


def encoded_and_long(value: bytes) -> bytes:
    headers = b"Transfer-Encoding:" + value + b"\r\nContent-Length: 5\r\n"
    return post(headers, b"0\r\n\r\n")


def long(value: bytes) -> bytes:
    return post(b"Content-Length:" + value + b"\r\n", b"abcde")


def chunk(size: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", size + b"\r\nabcde\r\n0\r\n\r\n")


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


def also(line: bytes) -> bytes:
    return post(line + b"Content-Length: 5\r\n", b"abcde")


def bare(start: bytes, host: bytes = b"Host: x\r\n") -> bytes:
    return start + b"\r\n" + host + b"\r\n" + NEXT


CASES = {
    # two lengths at once
    "CL.TE": post(b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\nG"),
    "TE.CL": post(b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", b"5c\r\n"),
    "TE.TE": post(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n"),
    "TE.TE, the other way": post(
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"
    ),
    "TE.TE, twice the same": post(b"Transfer-Encoding: chunked\r\n" * 2, b"0\r\n\r\n"),
    "TE in HTTP/1.0": post(b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n", b"HTTP/1.0"),
    "CL.CL": post(b"Content-Length: 5\r\nContent-Length: 0\r\n", b"abcde"),
    "CL.CL, twice the same": post(b"Content-Length: 5\r\n" * 2, b"abcde"),
    # an encoding that is none, or no more than nearly chunked
    **{
        f"TE {value!r}": encoded(value)
        for value in (
            *(b"xchunked", b"chunk", b"chunked x", b"chunked, identity", b"identity", b""),
            *(b"gzip, chunked", b"chunked,chunked", b"chunked;q=1", b"'chunked'", b'"chunked"'),
            *(b"chunked\x00", b"\x0bchunked", b"\xa0chunked", b"chu\xefked"),
        )
    },
    **{
        f"TE {value!r} and CL": encoded_and_long(value)
        for value in (b" chunked", b"\tchunked", b"Chunked", b"x", b"", b"identity", b" ,chunked")
    },
    "TE before a space": post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n"),
    "TE behind a space": post(b" Transfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE folded": post(b"Transfer-Encoding:\r\n chunked\r\n", b"0\r\n\r\n"),
    "TE with another line end": post(b"X: y\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n"),
    "TE with an underscore": post(
        b"Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n"
    ),
    # a length that is none
    **{
        f"CL {value!r}": long(value)
        for value in (
            *(b" -1", b" +5", b" 0x5", b" 5 5", b" 5,5", b" 5, 6", b" 5;", b"", b" ", b" five"),
            *(b" 5.0", b" 1e1", b" \xd9\xa5", b" 5_0", b" 5\x00", b" \x0b5", b" 5\r", b" 5 x"),
            b" 99999999999999999999999",
        )
    },
    "CL before a space": post(b"Content-Length : 5\r\n", b"abcde"),
    "CL folded": post(b"Content-Length:\r\n 5\r\n", b"abcde"),
    "CL with an underscore": post(b"Content_Length: 0\r\nContent-Length: 5\r\n", b"abcde"),
    # chunks
    **{
        f"chunk {size!r}": chunk(size)
        for size in (
            *(b"-1", b"+5", b"0x5", b" 5", b"5 ", b"5\t", b"g", b"", b"5\x00", b"5,5", b"5_0"),
            *(b"ffffffffffffffffff", b"5;\nx", b"5;a=\rb", b"0\r\nX: y"),
        )
    },
    "chunks with other line ends": chunked(b"5\nabcde\n0\n\n"),
    "a chunk that is too long": chunked(b"3\r\nabcde\r\n0\r\n\r\n"),
    "a chunk that does not end": chunked(b"5\r\nabcdeX0\r\n\r\n"),
    "a trailer that is none": chunked(b"0\r\n bad\r\n\r\n"),
    "a length in the trailer": chunked(b"0\r\nContent-Length: 50\r\n\r\n"),
    "no end of the trailer": chunked(b"0\r\n"),
    # other lines of the header
    **{
        name: also(line)
        for name, line in {
            "a fold": b"X-A: b\r\n c\r\n",
            "a fold by a tab": b"X-A: b\r\n\tc\r\n",
            "NUL in a value": b"X-A: b\x00c\r\n",
            "NUL in a name": b"X\x00A: b\r\n",
            "a bare CR": b"X-A: b\rc\r\n",
            "two CR": b"X-A: b\r\r\n",
            "a bare LF": b"X-A: b\nX-B: c\r\n",
            "no colon": b"X-A b\r\n",
            "no name": b": b\r\n",
            "a space in a name": b"X A: b\r\n",
            "a tab before the colon": b"X-A\t: b\r\n",
            "a bracket in a name": b"X(A): b\r\n",
            "a letter that is not ASCII": b"X-\xc3\xa4: b\r\n",
            "a control character": b"X-A: b\x01c\r\n",
            "DEL": b"X-A: b\x7fc\r\n",
            "two hosts": b"Host: y\r\n",
            "a long line": b"X-A: " + b"a" * 9_000 + b"\r\n",
            "many lines": b"".join(b"X-%d: b\r\n" % n for n in range(110)),
            "very many lines": b"".join(b"X-%d: b\r\n" % n for n in range(1_000)),
            "long lines together": b"".join(b"X-%d: %s\r\n" % (n, b"b" * 4_000) for n in range(9)),
        }.items()
    },
    # the first line, and the host
    **{
        name: bare(start)
        for name, start in {
            "HTTP/0.9": b"GET /api/products/first HTTP/0.9",
            "HTTP/1.2": b"GET /api/products/first HTTP/1.2",
            "HTTP/2.0": b"GET /api/products/first HTTP/2.0",
            "HTTP/01.1": b"GET /api/products/first HTTP/01.1",
            "a version with more": b"GET /api/products/first HTTP/1.1x",
            "a tab between": b"GET\t/api/products/first\tHTTP/1.1",
            "a space in the path": b"GET /api/products/first x HTTP/1.1",
            "NUL in the path": b"GET /api/products/fi\x00rst HTTP/1.1",
            "a method in small letters": b"get /api/products/first HTTP/1.1",
            "an unknown method": b"SMUGGLE /api/products/first HTTP/1.1",
            "a space before": b" GET /api/products/first HTTP/1.1",
            "a host that is none": b"GET http://x:y/api/products/first HTTP/1.1",
            "a tunnel": b"CONNECT x:80 HTTP/1.1",
            "a long path": b"GET /" + b"a" * 9_000 + b" HTTP/1.1",
        }.items()
    },
    "HTTP/2 by prior knowledge": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT,
    "no version": b"GET /api/products/first\r\n\r\n" + NEXT,
    "other line ends": b"GET /api/products/first HTTP/1.1\nHost: x\n\n" + NEXT,
    **{
        f"Host {line!r}": bare(b"GET /api/products/first HTTP/1.1", line)
        for line in (
            *(b"", b"Host:\r\n", b"Host: a b\r\n", b"Host: a, b\r\n", b"Host: a/b\r\n"),
            *(b"Host: a@b\r\n", b"Host: a\\b\r\n", b"Host: \xc3\xa4\r\n"),
        )
    },
}


@pytest.fixture
async def heard(service):
    """A service that keeps what it is asked."""
    paths = []

    async def listen(request):
        paths.append(request.path)
        return web.json_response({})

    return paths, await service(listen)


async def spoken(port: int, *pieces: bytes) -> bytes:
    """Send, and read until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 8)
    finally:
        writer.close()


def is_refused(answer: bytes) -> bool:
    """One answer, a problem, and the end."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert answer.count(b"HTTP/1.") == 1, answer
    assert head.split(b" ", 2)[1] in (b"400", b"431", b"501"), answer
    assert not [line for line in lines if line.startswith(b"server:")]
    assert b"x-content-type-options: nosniff" in lines
    return json.loads(body)["code"] in ("malformed_request", "headers_too_large", "not_implemented")


@pytest.mark.parametrize("name", CASES)
async def test_what_can_be_read_in_two_ways_is_refused(edge, heard, name):
    paths, address = heard
    host = await edge(product=address)
    assert is_refused(await spoken(host.server.port, CASES[name]))
    assert paths == []


@pytest.mark.parametrize("name", CASES)
async def test_byte_by_byte_it_is_refused_too(edge, heard, name):
    """A parser may be in another state when a line comes in pieces."""
    paths, address = heard
    host = await edge(product=address)
    raw = CASES[name]
    pieces = [raw[at : at + 7] for at in range(0, len(raw), 7)] if len(raw) < 2_000 else [raw]
    try:
        answer = await spoken(host.server.port, *pieces)
    except ConnectionError:
        answer = b""  # closed amid what was still being sent: the answer may be lost then
    assert not answer or is_refused(answer)
    assert paths == []


async def test_the_same_request_in_good_form_passes(edge, heard):
    """Else the tests above would show nothing."""
    paths, address = heard
    host = await edge(product=address)
    closing = NEXT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    for good in (
        post(b"Content-Length: 5\r\n", b"abcde"),
        chunked(b"5;a=b\r\nabcde\r\n0\r\nX: y\r\n\r\n"),
    ):
        answer = await spoken(host.server.port, good.removesuffix(NEXT) + closing)
        assert answer.count(b"HTTP/1.1 200") == 2
    assert paths == ["/api/products/first", "/api/products/smuggled"] * 2


def test_there_are_enough_of_them():
    assert len(set(CASES.values())) >= 40


@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ],
)
async def test_another_protocol_is_not_spoken_and_nothing_behind_is_read(edge, heard, upgrade):
    paths, address = heard
    host = await edge(product=address)
    raw = b"GET /api/products/first HTTP/1.1\r\nHost: x\r\n" + upgrade + b"\r\n" + NEXT
    answer = await spoken(host.server.port, raw)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.") == 1
    assert paths == ["/api/products/first"]


@pytest.mark.parametrize(
    "line",
    [
        b"X-Odd: a\r\n Set-Cookie: b",
        b"X-Odd: a\rSet-Cookie: b",
        b"X-Odd: a\x00b",
        b"X Odd: a",
        b"Transfer-Encoding: chunked\r\nContent-Length: 2",
        b"Content-Length: 2\r\nContent-Length: 3",
    ],
)
async def test_an_answer_cannot_be_split(edge, stack, line):
    """Whatever a service says, a client sees one answer with the headers that we mean."""

    async def odd(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        length = b"" if b"Content-Length" in line else b"Content-Length: 2\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n" + length + b"\r\n{}")
        writer.close()

    server = await asyncio.start_server(odd, "127.0.0.1", 0)
    stack.callback(server.close)
    host = await edge(product=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    answer = await spoken(
        host.server.port,
        b"GET /api/products/x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert answer.count(b"HTTP/1.1") == 1
    assert head.split(b" ")[1] in (b"200", b"502")
    assert head.count(b"\r") == head.count(b"\n") == head.count(b"\r\n")
    assert not [each for each in head.split(b"\r\n") if each.startswith((b"set-cookie", b" "))]
    assert b"\x00" not in answer
