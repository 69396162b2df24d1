"""Databases of a test's own on the real server, gone when the test is."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pymongo import AsyncMongoClient

from tests.backends import MONGODB_URL, require

__all__ = ["DRIVERS", "own_databases"]

DRIVERS = ("motor", "pymongo")


@asynccontextmanager
async def own_databases(driver: str = "motor") -> AsyncIterator[str]:
    """A store URL under which there is nothing yet; skips the test where no server is."""
    server = require(MONGODB_URL).partition("?")[0].rstrip("/")
    prefix = f"test_{secrets.token_hex(6)}"
    yield f"{server}/{prefix}?driver={driver}"
    async with AsyncMongoClient(f"{server}/", timeoutMS=30_000) as client:
        for name in await client.list_database_names():
            if name.startswith(prefix):
                await client.drop_database(name)
