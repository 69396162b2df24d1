"""Frees holds whose reservation is over: what a process leaves that stalled beyond all memory.

A released or withdrawn order is remembered in the SKU's document for a while, so that a hold which
comes late is refused. One that comes later still is held; as a rule its process finds at once that
its reservation was made without it, and releases. If it dies before that, nobody knows but this.
"""

from __future__ import annotations

import logging

from participants.inventory.domain import StockItem
from participants.inventory.ledger import ReleaseStock, stock
from participants.inventory.participant import inventory
from participants.service import ServiceContext
from sagas import Query, Runner, StoreUnavailable

__all__ = ["RECONCILE_EVERY_S", "free_leaked_holds", "reconcile"]

log = logging.getLogger(__name__)

RECONCILE_EVERY_S = 600.0
PAGE = 100


async def reconcile(context: ServiceContext) -> None:
    """Free what has leaked, at the start and then from time to time, until cancelled."""
    while True:
        try:
            await free_leaked_holds(context.runner)
        except StoreUnavailable as error:
            log.warning("the reconciliation of stock waits: %s", error)
        await context.clock.sleep(RECONCILE_EVERY_S)


async def free_leaked_holds(runner: Runner) -> int:
    """Look through all stock once; how many holds were freed. Any number of instances may."""
    freed = 0
    after = None
    while True:
        found = await runner.find(stock, Query(after=after, limit=PAGE))
        for record, item in found:
            for order_id in await _over(runner, item):
                # Most often the hold went with its reservation, after this looked at the stock.
                released = await runner.execute(stock, record.key, ReleaseStock(order_id=order_id))
                if released.value:
                    log.warning(
                        "%s was still held for order %s, which is over", record.key, order_id
                    )
                    freed += 1
        if len(found) < PAGE:
            return freed
        after = (None, found[-1][0].key)


async def _over(runner: Runner, item: StockItem) -> list[str]:
    """The orders that hold this SKU although their reservations hold nothing any more.

    An order without a reservation is about to get one: its message is not acked before.
    """
    if not item.holds:
        return []
    reservations = await runner.cached(inventory.saga, item.holds, 0.0)
    return [order_id for order_id, each in reservations.items() if each.is_over]
