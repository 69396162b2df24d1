"""Waits until all is over, and says what is wrong then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable

from tests.e2e.kill.books import Books, Charges, Fault, Stock, read_books, unended
from tests.e2e.kill.client import Client

__all__ = ["at_rest", "judged"]

#: A projection hears of the last event a moment after its queue is empty.
FOLLOWED_WITHIN_S = 60.0

Left = Callable[[], Awaitable[list[str]]]


async def at_rest(staff: Client, left: Left, within_s: float) -> list[Fault]:
    """Wait until all is over and ``left`` finds nothing; what is not in time is at fault."""
    try:
        async with asyncio.timeout(within_s):
            while True:
                if not await unended(staff) and not await left():
                    return []
                await asyncio.sleep(0.2)  # it is another process, and can only be asked
    except TimeoutError:
        late = [Fault(order_id, "has not ended in time") for order_id in await unended(staff)]
        return [*late, *(Fault("", text) for text in await left())]


async def judged(
    staff: Client,
    left: Left,
    charges: Callable[[], Awaitable[Charges]],
    before: Stock,
    within_s: float,
    promises: Callable[[Books], Iterable[Fault]] = lambda books: (),
) -> tuple[Books, list[Fault]]:
    """The books once all is at rest, and everything that is wrong with them."""
    late = await at_rest(staff, left, within_s)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + FOLLOWED_WITHIN_S
    while True:
        books = await read_books(staff, await charges())
        faults = [*late, *books.audit(before), *promises(books)]
        if not faults or late or loop.time() > deadline:
            return books, faults
        await asyncio.sleep(0.5)  # it is another process, and can only be asked
