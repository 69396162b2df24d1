"""Clients who are slow on purpose, come in crowds, or never read: they cost the others nothing.

Attackers come from other addresses of this machine than the client who means well.
"""

from __future__ import annotations

import asyncio
import resource
from ipaddress import ip_network

import pytest
from aiohttp import web

MANY = 1_000
HEADERS, BODIES, WELL = "127.0.0.2", "127.0.0.3", "127.0.0.1"
#: Nobody is limited by rate: these tests are about what comes before that.
FAST = {"anonymous_burst": 100_000}
SLOW_HEADERS = b"GET /api/products HTTP/1.1\r\nHost: x\r\nX-Slow: "
SLOW_BODY = (
    b"POST /api/products HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: 60000\r\n\r\n"
)
WHOLE = b"GET /api/products HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(autouse=True)
def enough_files():
    """Both ends of every connection are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 5 * MANY
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


async def fine(_request):
    return web.json_response({})


async def connect(host, address=WELL):
    return await asyncio.open_connection(
        "127.0.0.1", host.server.port, local_addr=(address, 0), limit=2**20
    )


async def drip(host, address, began):
    """Send a beginning, then a byte now and then, until the gateway closes: what it said."""
    reader, writer = await connect(host, address)
    said = asyncio.ensure_future(reader.read())
    try:
        writer.write(began)
        while not said.done():
            writer.write(b"a")
            await asyncio.wait({said}, timeout=0.5)
        return await said
    except ConnectionError:  # reset, while a byte was on its way
        return b""
    finally:
        said.cancel()
        await asyncio.gather(said, return_exceptions=True)
        writer.close()


async def answered(reader):
    """The status of the next answer."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.lower().split(b"\r\n")
        if line.startswith(b"content-length:")
    )
    await reader.readexactly(length)
    return int(head.split(b" ")[1])


async def test_a_thousand_slow_headers_and_a_thousand_slow_bodies(service, edge):
    # Long enough for all of them to come first, on a busy machine too.
    limits = {**FAST, "arrival_s": 4.0}
    host = await edge(product=await service(fine), limits=limits)
    attacks = [
        asyncio.ensure_future(drip(host, address, began))
        for address, began in ((HEADERS, SLOW_HEADERS), (BODIES, SLOW_BODY))
        for _ in range(MANY)
    ]
    closed = 0

    def one_less(_task):
        nonlocal closed
        closed += 1

    for attack in attacks:
        attack.add_done_callback(one_less)
    before_any, statuses = 0, set()
    async with asyncio.timeout(60):  # they would drip for ever
        while closed < 2 * MANY:
            reader, writer = await connect(host)  # not one that was there before
            writer.write(WHOLE)
            statuses.add(await answered(reader))
            before_any += not closed
            writer.close()
            await asyncio.sleep(0.02)
    assert statuses == {200}
    assert before_any >= 3  # amid the attack, not behind it
    said = [attack.result() for attack in attacks]
    told = [each for each in said if each.startswith(b"HTTP/1.1 408")]
    assert len(told) > MANY  # a reset may eat some
    assert not [each for each in said if each and not each.startswith(b"HTTP/1.1 408")]


async def test_headers_without_end_are_cut_off_before_their_time(service, edge):
    host = await edge(product=await service(fine), limits={"arrival_s": 60.0})
    reader, writer = await connect(host)
    lines = [b"X-%d: %s\r\n" % (number, b"a" * 4_000) for number in range(9)]
    writer.write(b"GET /api/products HTTP/1.1\r\nHost: x\r\n" + b"".join(lines))
    async with asyncio.timeout(10):
        assert (await reader.read()).startswith(b"HTTP/1.1 431")
    writer.close()


async def test_an_idle_connection_is_closed(service, edge):
    host = await edge(product=await service(fine), limits={"keepalive_s": 0.2})
    reader, writer = await connect(host)
    for _ in range(2):
        writer.write(WHOLE)
        assert await answered(reader) == 200
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_each_address_has_so_many_connections(service, edge):
    host = await edge(product=await service(fine), limits={**FAST, "connections_each": 3})
    mine = [await connect(host, BODIES) for _ in range(3)]
    reader, writer = await connect(host, BODIES)
    async with asyncio.timeout(10):
        refused = await reader.read()
    writer.close()
    assert refused.startswith(b"HTTP/1.1 429")
    assert b'"code":"rate_limited"' in refused
    assert b"\r\nRetry-After: " in refused
    other = await connect(host, HEADERS)
    for reader, writer in (*mine, other):
        writer.write(WHOLE)
        assert await answered(reader) == 200
    mine[0][1].close()
    async with asyncio.timeout(10):
        while True:  # a place is free as soon as the gateway has seen that its holder left
            reader, writer = await connect(host, BODIES)
            writer.write(WHOLE)
            try:
                status = await answered(reader)
            except ConnectionError:
                status = 429  # the refusal came while we spoke
            writer.close()
            if status == 200:
                break
    for _, writer in (*mine, other):
        writer.close()


async def test_a_trusted_proxy_has_as_many_as_it_needs(service, edge):
    trusted = (ip_network("127.0.0.3/32"),)
    limits = {**FAST, "connections_each": 1, "trusted_proxies": trusted}
    host = await edge(product=await service(fine), limits=limits)
    for reader, writer in [await connect(host, BODIES) for _ in range(5)]:
        writer.write(WHOLE)
        assert await answered(reader) == 200
        writer.close()


async def test_all_together_have_so_many_connections(service, edge):
    host = await edge(product=await service(fine), limits={"connections": 2})
    held = [await connect(host, address) for address in (HEADERS, BODIES)]
    reader, writer = await connect(host)
    async with asyncio.timeout(10):
        refused = await reader.read()
    writer.close()
    assert refused.startswith(b"HTTP/1.1 503")
    assert b'"code":"overloaded"' in refused
    for _, each in held:
        each.close()


async def test_who_never_reads_is_cut_off(service, edge):
    """A long answer waits in the gateway's memory for its reader: not for ever."""

    async def long(_request):
        return web.Response(body=b"x" * 900_000)

    host = await edge(product=await service(long), limits={"reader_timeout_s": 0.3})
    _, writer = await connect(host)
    writer.transport.pause_reading()
    writer.write(WHOLE * 20)
    async with asyncio.timeout(10):
        while not writer.transport.is_closing():
            writer.write(b"\r\n")  # fails once the gateway has gone
            await asyncio.sleep(0.02)
    writer.close()


async def test_a_crowd_that_never_reads_fills_no_memory(service, edge):
    """A long answer on each of many connections: of one address only so much waits here."""

    async def long(_request):
        return web.Response(body=b"x" * 1_000_000)

    limits = {**FAST, "unsent_each_bytes": 4_000_000, "reader_timeout_s": 60.0}
    host = await edge(product=await service(long), limits=limits)
    crowd = [await connect(host, BODIES) for _ in range(40)]
    for _, writer in crowd:
        writer.transport.pause_reading()
        writer.write(WHOLE * 20)  # the sockets themselves take some of it
    async with asyncio.timeout(10):
        while sum(await asyncio.gather(*map(is_cut, crowd))) < 30:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.05)
    reader, writer = await connect(host, HEADERS)
    for _ in range(30):  # who reads has as much as they like, one after another
        writer.write(WHOLE)
        assert await answered(reader) == 200
    for _, each in (*crowd, (reader, writer)):
        each.close()


async def is_cut(connection):
    writer = connection[1]
    if not writer.transport.is_closing():
        writer.write(b"\r\n")  # fails once the gateway has gone
    return writer.transport.is_closing()
