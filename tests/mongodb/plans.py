"""How the server would find something, as far as it says."""

from __future__ import annotations

from typing import Any

from sagas.ports import Query
from sagas.stores.mongodb import MongoStore

__all__ = ["explained", "plan", "uses"]


async def explained(store: MongoStore, collection: str, **find: Any) -> str:
    """All names of the server's plan in one text."""
    database = store._connection.database(store._name)
    return str(await database.command("explain", {"find": collection, **find}))


async def plan(store: MongoStore, collection: str, query: Query) -> str:
    """The plan of a page, asked for as the store does."""
    layout = store._collections[collection].layout
    hint = layout.hint(query)
    return await explained(
        store,
        collection,
        filter=layout.filter(query),
        sort=dict(layout.order(query)),
        limit=query.limit,
        **({"hint": hint} if hint else {}),
    )


def uses(plan: str, index: str) -> bool:
    """Whether an index is read: mongod says ``IXSCAN``, FerretDB what PostgreSQL does."""
    return f"'{index}'" in plan and ("IXSCAN" in plan or "Index Scan" in plan)
