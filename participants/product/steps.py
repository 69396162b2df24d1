"""Product's reactions: commands of staff on a product, and inventory's news of its stock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Never

from contracts.api import products as api
from contracts.events.inventory import StockLevelChanged
from contracts.events.product import ProductChanged
from participants.editing import STALE, Versions, is_stale
from participants.product.domain import (
    Availability,
    Product,
    archived,
    created,
    edited,
    levelled,
    search_text,
)
from sagas import Command, Decision, Participant, Refusal
from sagas.ports import Scalar

__all__ = [
    "ArchiveProduct",
    "CreateProduct",
    "ReplaceProduct",
    "availability",
    "product",
]


def _fields(state: Product) -> Mapping[str, Scalar]:
    return {
        "active": state.active,
        "category": state.category,
        "name": state.name,
        "price": state.price.amount,
        "search": search_text(state),
    }


product = Participant(
    "product",
    state=Product,
    key=lambda event: str(event.sku),
    dedupe="none",
    collection="products",
    fields=_fields,
    names=("active", "category", "name", "price", "search"),
    # What pages are sorted by completes each; a category is then picked out on the way.
    indexes=(
        ("present", "active"),
        ("present", "active", "category"),
        ("present", "active", "name"),
        ("present", "active", "price"),
    ),
)

#: Apart from the product: what inventory says must not move the version that editors agree on.
availability = product.aggregate(
    "availability", Availability, key=lambda event: str(event.sku), dedupe="sequence"
)


class CreateProduct(Command):
    """``operation_id`` tells a repeat of one creation from another one of the same SKU."""

    origin: ClassVar[str] = "POST /api/products"
    content: api.CreateProduct
    operation_id: str


class ReplaceProduct(Command):
    """``expected`` are the versions that ``If-Match`` allows."""

    origin: ClassVar[str] = "PUT /api/products/{sku}"
    content: api.ReplaceProduct
    expected: Versions


class ArchiveProduct(Command):
    """``expected`` as for ``ReplaceProduct``."""

    origin: ClassVar[str] = "DELETE /api/products/{sku}"
    expected: Versions


@product.command(CreateProduct, emits=[ProductChanged])
def create_product(
    command: CreateProduct, existing: Product | None
) -> Decision[Product, ProductChanged] | Refusal:
    if existing is None:
        new = created(command.content, command.operation_id)
        return Decision(new, _changed(new))
    if existing.created_by == command.operation_id:
        return Decision(existing)
    return Refusal("sku_taken", f"There is a product {existing.sku} already.")


@product.command(ReplaceProduct, emits=[ProductChanged])
def replace_product(
    command: ReplaceProduct, existing: Product | None
) -> Decision[Product, ProductChanged] | Refusal:
    if existing is None:
        return _unknown()
    # The reread value: of two editors who saw the same version one wins.
    if is_stale(command.expected, existing.version):
        return STALE
    if not existing.active:
        return Refusal("product_archived", f"{existing.sku} is archived: it cannot be edited.")
    new = edited(existing, command.content)
    return Decision(new, _changed(new))


@product.command(ArchiveProduct, emits=[ProductChanged])
def archive_product(
    command: ArchiveProduct, existing: Product | None
) -> Decision[Product, ProductChanged] | Refusal:
    if existing is None:
        return _unknown()
    if not existing.active:
        return Decision(existing)
    if is_stale(command.expected, existing.version):
        return STALE
    new = archived(existing)
    return Decision(new, _changed(new))


@availability.follows(StockLevelChanged)
def stock_level_changed(
    level: StockLevelChanged, before: Availability | None
) -> Decision[Availability, Never]:
    return Decision(levelled(before, level))


def _changed(state: Product) -> ProductChanged:
    return ProductChanged(sku=state.sku, name=state.name, price=state.price, active=state.active)


def _unknown() -> Refusal:
    return Refusal("not_found", "There is no such product.")
