"""Products: what the catalogue shows and staff maintain."""

from __future__ import annotations

from typing import Literal

from contracts.api.base import ListQuery, QueryAmount, QueryText, Request, Resource
from contracts.values import Category, Description, Money, Name, Sku

__all__ = ["CreateProduct", "Product", "ProductsQuery", "ReplaceProduct"]


class ReplaceProduct(Request):
    """``PUT /api/products/{sku}``: all of what staff may edit."""

    name: Name
    description: Description
    category: Category
    price: Money


class CreateProduct(ReplaceProduct):
    """``POST /api/products``."""

    sku: Sku


class ProductsQuery(ListQuery):
    """``GET /api/products``; prices in minor units."""

    category: QueryText | None = None
    q: QueryText | None = None
    min_price: QueryAmount | None = None
    max_price: QueryAmount | None = None
    sort: Literal["name", "price", "-price"] | None = None


class Product(Resource):
    """``available`` follows inventory's events; ``version`` counts edits only."""

    sku: str
    name: str
    description: str
    category: str
    price: Money
    available: int
    active: bool
    version: int
