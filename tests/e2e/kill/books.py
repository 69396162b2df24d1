"""The shop's books: read through the public API and, read-only, from its file; then audited.

An audit yields faults and never raises on the first: what is wrong shows best all together.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tests.e2e.kill.client import Client

__all__ = [
    "OVERDUE_S",
    "TROUBLE",
    "Books",
    "Charges",
    "Fault",
    "Stock",
    "charge_of",
    "charges_in_file",
    "left_behind",
    "read_books",
    "read_stock",
    "unended",
]

#: Parcels in these states have left the house, with the goods.
LEFT = ("dispatched", "in_transit", "delivered", "lost")
#: A timer is overdue when nothing has served it for so long.
OVERDUE_S = 2.0
#: What the engine keeps in a document while something is wrong with its saga.
TROUBLE = ("retries", "held", "dead", "attention")
#: Steps of the saga's view that say the same as a payment's or a shipment's status.
SHOWN_AS = {
    "captured": ("take_payment", "done"),
    "refunded": ("take_payment", "compensated"),
    "cancelled": ("schedule_shipment", "compensated"),
    "delivered": ("deliver_parcel", "done"),
    "lost": ("deliver_parcel", "failed"),
}

Stock = Mapping[str, tuple[int, int]]  # SKU → on hand, reserved
#: The provider's own ledger, by order id: how often it took money, how much, what is left of it.
Charges = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Fault:
    """``order_id`` is empty where no single order is to blame."""

    order_id: str
    text: str


@dataclass(slots=True)
class Books:
    """Everything by order id, as little of it as the audit needs."""

    orders: dict[str, dict[str, Any]]
    sagas: dict[str, dict[str, Any]]
    payments: dict[str, list[dict[str, Any]]]
    parcels: dict[str, list[str]]
    charges: Charges
    stock: Stock
    available: dict[str, int]
    dead_letters: list[dict[str, Any]]

    def audit(self, before: Stock) -> Iterator[Fault]:
        """What cannot be, whatever was ordered and whenever the shop died."""
        for order_id, order in self.orders.items():
            for text in self._order(order_id, order):
                yield Fault(order_id, text)
        for known, by in ((self.sagas, "tracker"), (self.charges, "provider")):
            for order_id in known.keys() - self.orders.keys():
                yield Fault(order_id, f"the {by} knows it, but there is no such order")
        keys = Counter(order["key"] for order in self.orders.values())
        for order_id, order in self.orders.items():
            if keys[order["key"]] > 1:
                yield Fault(order_id, f"{order['key']} was placed {keys[order['key']]} times")
        yield from self._stock(before)
        for letter in self.dead_letters:
            yield Fault(letter.get("saga_id") or "", f"an open dead letter: {letter}")

    def _order(self, order_id: str, order: Mapping[str, Any]) -> Iterator[str]:
        status, saga = order["status"], self.sagas.get(order_id)
        if saga is None:
            yield "the tracker does not know it"
        elif (status, saga["status"]) not in (
            ("delivered", "completed"),
            ("cancelled", "compensated"),
        ):
            yield f"the order is {status}, its saga {saga['status']}"
        elif saga["stuck"] or saga["violations"]:
            yield f"its saga is stuck ({saga['stuck']}) or has violations {saga['violations']}"
        else:
            yield from self._view(order_id, saga["steps"])
        ends = [each for each in order["history"] if each in ("delivered", "cancelled")]
        if ends != [status] or order["history"][-1] != status:
            yield f"it is {status} with the history {order['history']}"
        request = order["cancellation_request"]
        if request is not None and request["status"] not in ("done", "refused"):
            yield f"its cancellation request is still {request['status']}"
        yield from self._money(order_id, order)
        parcels = self.parcels.get(order_id, [])
        if len(parcels) > 1:
            yield f"{len(parcels)} shipments"
        if status == "delivered" and parcels != ["delivered"]:
            yield f"delivered, with shipments {parcels}"
        if status == "cancelled" and any(parcel in LEFT[:3] for parcel in parcels):
            yield f"cancelled, with shipments {parcels}"

    def _view(self, order_id: str, steps: Mapping[str, str]) -> Iterator[str]:
        """The tracker heard of it all; the services did it."""
        services = {payment["status"] for payment in self.payments.get(order_id, [])}
        services |= set(self.parcels.get(order_id, []))
        for status, (step, shown) in SHOWN_AS.items():
            if (status in services) != (steps[step] == shown):
                yield f"{step} is {steps[step]} in the saga's view, the services say {services}"

    def _money(self, order_id: str, order: Mapping[str, Any]) -> Iterator[str]:
        payments = self.payments.get(order_id, [])
        taken = sum(payment["charges"] for payment in payments)
        kept = sum(
            payment["amount"] - payment["refunded"] for payment in payments if payment["charges"]
        )
        # The provider may know of a charge without a payment: it is void, then.
        ledger = self.charges.get(order_id, {"charges": 0, "amount": 0, "left": 0})
        due = order["total"] if order["status"] == "delivered" else 0
        if len(payments) > 1:
            yield f"{len(payments)} payments"
        if taken > 1 or ledger["charges"] > 1:
            yield f"charged {taken} times, {ledger['charges']} times by the provider's own ledger"
        if ledger["charges"] and ledger["amount"] != order["total"]:
            yield f"charged {ledger['amount']} for a total of {order['total']}"
        if (kept, ledger["left"]) != (due, due):
            yield f"{kept} was kept, {ledger['left']} by the provider's ledger, {due} is due"
        if taken and not ledger["charges"]:
            yield "a payment that the provider never took"
        if order["status"] == "delivered" and [each["status"] for each in payments] != ["captured"]:
            yield f"delivered, with payments {[each['status'] for each in payments]}"

    def _stock(self, before: Stock) -> Iterator[Fault]:
        gone: Counter[str] = Counter()
        for order_id, parcels in self.parcels.items():
            if any(parcel in LEFT for parcel in parcels) and order_id in self.orders:
                gone.update(self.orders[order_id]["lines"])
        for sku, (on_hand, _) in before.items():
            found = self.stock.get(sku, (0, 0))
            if found != (on_hand - gone[sku], 0):
                yield Fault(
                    "",
                    f"{sku}: {on_hand} on hand, {gone[sku]} sent away, now "
                    f"{found[0]} on hand and {found[1]} reserved",
                )
            if self.available.get(sku) != found[0] - found[1]:
                yield Fault("", f"{sku}: product shows {self.available.get(sku)} available")


# ------------------------------------------------------------------------------------ reading


async def read_books(staff: Client, charges: Charges) -> Books:
    """Page by page: only what the audit needs stays in memory."""
    payments: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    async for item in staff.items("/api/payments"):
        amounts = {"amount": item["amount"]["amount"], "refunded": item["refunded"]["amount"]}
        payments[item["order_id"]].append(
            {"status": item["status"], "charges": item["charges"], **amounts}
        )
    parcels: defaultdict[str, list[str]] = defaultdict(list)
    async for item in staff.items("/api/shipping"):
        parcels[item["order_id"]].append(item["status"])
    return Books(
        orders={item["order_id"]: _order(item) async for item in staff.items("/api/orders")},
        sagas={
            item["saga_id"]: {
                "steps": {step["name"]: step["status"] for step in item["steps"]},
                **{name: item[name] for name in ("status", "stuck", "violations")},
            }
            async for item in staff.items("/api/sagas")
        },
        payments=dict(payments),
        parcels=dict(parcels),
        charges=charges,
        stock=await read_stock(staff),
        available={item["sku"]: item["available"] async for item in staff.items("/api/products")},
        dead_letters=[item async for item in staff.items("/api/dead-letters")],
    )


def _order(item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "key": item["shipping_address"]["line1"],
        "status": item["status"],
        "total": item["total"]["amount"],
        "lines": {line["sku"]: line["quantity"] for line in item["lines"]},
        "code": (item["cancellation"] or {}).get("code"),
        "cancellation_request": item["cancellation_request"],
        "history": [each["status"] for each in item["history"]],
    }


async def read_stock(staff: Client) -> Stock:
    """What inventory says, by SKU."""
    return {
        item["sku"]: (item["on_hand"], item["reserved"])
        async for item in staff.items("/api/inventory")
    }


async def unended(staff: Client) -> list[str]:
    """The ids of orders and sagas that are still under way (a page of each kind is enough)."""
    running = [f"/api/orders?status={each}" for each in ("pending", "paid", "confirmed", "shipped")]
    running += [f"/api/sagas?status={each}" for each in ("running", "compensating")]
    found: list[str] = []
    for path in running:
        page = await staff.get(f"{path}&limit=100")
        found += [item.get("saga_id") or item["order_id"] for item in page["items"]]
    return found


# ------------------------------------------------------------------------------------ the file


def left_behind(file: Path) -> list[str]:
    """What a shop at rest must not have in any document: events to publish, timers overdue,
    retries, held messages, dead letters, strays, or a person's attention."""
    found: list[str] = []
    with closing(_open(file)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM pragma_table_list")]
        for table in sorted(name for name in tables if "__" in name):
            conditions = {
                "has events in its outbox": "_outbox IS NOT NULL",
                "has a timer overdue": f"_due < {time.time() - OVERDUE_S}",
            }
            if table.endswith("__strays"):
                conditions["is a stray"] = "TRUE"
            if not table.endswith("__idempotency"):  # whose bodies are no JSON
                for name in TROUBLE:
                    path = f"json_type(CAST(_body AS TEXT), '$.{name}')"
                    conditions[f"has {name}"] = f"{path} IS NOT NULL"
            for text, condition in conditions.items():
                rows = database.execute(f"SELECT _key FROM {table} WHERE {condition} LIMIT 5")
                found += [f"{table}/{key} {text}" for (key,) in rows]
    return found


def charges_in_file(file: Path) -> Charges:
    """The provider's ledger, from a shop's file."""
    with closing(_open(file)) as database:
        rows = database.execute("SELECT _key, _body FROM payment__charges")
        return {key: charge_of(body) for key, body in rows}


def charge_of(body: bytes) -> Mapping[str, int]:
    """An entry of that ledger: how often money was taken, how much, what is left of it."""
    charge = orjson.loads(body)["state"]
    left = charge["amount"] - sum(charge["refunds"].values()) - charge["returned"]
    return {"charges": charge["charges"], "amount": charge["amount"], "left": left}


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{file}?mode=ro", uri=True)
