"""The stock ledger: a port whose every call is keyed by order, and the one behind it.

Each SKU is one document with its holds in it. Calls that come together are decided together: the
runner reads their SKUs once and writes each SKU once, whatever the number of orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Protocol

from contracts.events.inventory import StockLevelChanged
from contracts.events.product import ProductChanged
from participants.inventory.domain import StockItem
from participants.inventory.participant import inventory
from sagas import Command, CommandRefused, Context, Decision, Refusal, Runner

__all__ = ["AdjustStock", "SeedStock", "StockLedger", "StoredLedger", "stock"]

stock = inventory.aggregate("stock", StockItem, key=lambda event: str(event.sku))


class StockLedger(Protocol):
    """Holds, releases and withdraws for an order; repeats of a call change nothing."""

    async def hold(self, order_id: str, quantities: Mapping[str, int]) -> str | None:
        """Hold everything, or nothing and return the SKU that there is not enough of."""
        ...

    async def release(self, order_id: str, skus: Iterable[str]) -> None:
        """Hold nothing for the order; a hold that comes later is refused."""
        ...

    async def withdraw(self, order_id: str, skus: Iterable[str]) -> None:
        """The goods have left."""
        ...


class HoldStock(Command):
    origin: ClassVar[str] = "stock ledger"
    order_id: str
    quantity: int


class ReleaseStock(Command):
    origin: ClassVar[str] = "stock ledger"
    order_id: str


class WithdrawStock(Command):
    origin: ClassVar[str] = "stock ledger"
    order_id: str


class AdjustStock(Command):
    origin: ClassVar[str] = "POST /api/inventory/{sku}/adjustments"
    operation: str
    delta: int


class SeedStock(Command):
    origin: ClassVar[str] = "seed"
    on_hand: int


Changed = Decision[StockItem, StockLevelChanged]


def _decided(before: StockItem | None, after: StockItem) -> Changed:
    """The caller is told whether a number changed, and everybody is if it did."""
    if before is not None and after.changes == before.changes:
        return Decision(after, reply=False)
    level = StockLevelChanged(
        sku=after.sku,
        on_hand=after.on_hand,
        reserved=after.reserved,
        available=after.available,
    )
    return Decision(after, level, reply=True)


@stock.follows(ProductChanged, emits=[StockLevelChanged])
def product_appears(event: ProductChanged, item: StockItem | None) -> Changed:
    """A new product has a stock record, empty at first."""
    return _decided(item, item or StockItem(sku=event.sku))


@stock.command(HoldStock, emits=[StockLevelChanged])
def hold(command: HoldStock, item: StockItem | None) -> Changed | Refusal:
    held = None if item is None else item.hold(command.order_id, command.quantity)
    if held is None:
        return Refusal("insufficient_stock", "There is not enough.")
    return _decided(item, held)


@stock.command(ReleaseStock, emits=[StockLevelChanged])
def release(
    command: ReleaseStock, item: StockItem | None, ctx: Context
) -> Decision[StockItem | None, StockLevelChanged]:
    if item is None:
        return Decision(None, reply=False)  # an unknown SKU holds nothing
    return _decided(item, item.release(command.order_id, ctx.now))


@stock.command(WithdrawStock, emits=[StockLevelChanged])
def withdraw(command: WithdrawStock, item: StockItem, ctx: Context) -> Changed:
    return _decided(item, item.withdraw(command.order_id, ctx.now))


@stock.command(AdjustStock, emits=[StockLevelChanged])
def adjust(command: AdjustStock, item: StockItem | None, ctx: Context) -> Changed | Refusal:
    if item is None:
        return Refusal("not_found", "There is no such SKU.")
    adjusted = item.adjust(command.delta, command.operation, ctx.now)
    if adjusted is None:
        return Refusal("insufficient_stock", f"Only {item.available} are available.")
    return _decided(item, adjusted)


@stock.command(SeedStock, emits=[StockLevelChanged])
def seed(command: SeedStock, item: StockItem | None, ctx: Context) -> Changed:
    return _decided(item, (item or StockItem(sku=ctx.key)).seed(command.on_hand))


class StoredLedger:
    """The ledger in inventory's own store."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def hold(self, order_id: str, quantities: Mapping[str, int]) -> str | None:
        answers = await self._runner.execute_each(
            stock,
            [
                (sku, HoldStock(order_id=order_id, quantity=quantity))
                for sku, quantity in quantities.items()
            ],
        )
        both = zip(quantities, answers, strict=True)
        short = next((sku for sku, answer in both if isinstance(answer, CommandRefused)), None)
        if short is not None:
            # Also what is not held: a repeat that comes late, when there is enough, holds nothing.
            await self.release(order_id, quantities)
        return short

    async def release(self, order_id: str, skus: Iterable[str]) -> None:
        command = ReleaseStock(order_id=order_id)
        await self._runner.execute_each(stock, [(sku, command) for sku in skus])

    async def withdraw(self, order_id: str, skus: Iterable[str]) -> None:
        command = WithdrawStock(order_id=order_id)
        await self._runner.execute_each(stock, [(sku, command) for sku in skus])
