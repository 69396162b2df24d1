"""The rules of the catalogue: values in, values out."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from contracts.api.products import CreateProduct, ReplaceProduct
from contracts.events.inventory import StockLevelChanged
from contracts.values import Money

__all__ = ["Availability", "Product", "archived", "created", "edited", "levelled", "search_text"]


class Product(BaseModel):
    """``version`` counts edits. ``created_by`` is the operation that created it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    name: str
    description: str
    category: str
    price: Money
    active: bool = True
    version: int = 1
    created_by: str


class Availability(BaseModel):
    """How many can be ordered, as inventory last said.

    ``stocked`` stays true once there was any stock: a demo product that is sold out is still one
    whose first stock has arrived.
    """

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    sku: str
    available: int
    stocked: bool


def created(content: CreateProduct, operation_id: str) -> Product:
    return Product(
        sku=content.sku,
        name=content.name,
        description=content.description,
        category=content.category,
        price=content.price,
        created_by=operation_id,
    )


def edited(product: Product, content: ReplaceProduct) -> Product:
    """Every replacement is an edit, even by the same values: its version says who was first."""
    return product.model_copy(
        update={
            "name": content.name,
            "description": content.description,
            "category": content.category,
            "price": content.price,
            "version": product.version + 1,
        }
    )


def archived(product: Product) -> Product:
    """Orders still read it, nobody can order it any more."""
    return product.model_copy(update={"active": False, "version": product.version + 1})


def levelled(before: Availability | None, level: StockLevelChanged) -> Availability:
    stocked = level.on_hand > 0 or level.reserved > 0
    return Availability(
        sku=level.sku,
        available=level.available,
        stocked=stocked or (before is not None and before.stocked),
    )


def search_text(product: Product) -> str:
    """What ``q`` is looked for in; a search never contains the newline between the two."""
    return f"{product.name}\n{product.description}".casefold()
