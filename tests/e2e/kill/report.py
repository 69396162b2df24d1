"""What is wrong, told order by order, with what its saga's view has to say."""

from __future__ import annotations

from tests.e2e.kill.books import Fault
from tests.e2e.kill.client import Client
from tests.e2e.kill.customers import Customers
from tests.e2e.kill.wishes import wish

__all__ = ["report"]

SHOWN = 10


async def report(faults: list[Fault], again: str, customers: Customers, staff: Client) -> str:
    """``again`` tells how to run it once more."""
    lines = [f"{len(faults)} faults; {again}", ""]
    by_order: dict[str, list[str]] = {}
    for fault in faults:
        by_order.setdefault(fault.order_id, []).append(fault.text)
    for order_id, texts in list(by_order.items())[:SHOWN]:
        placed = customers.placed.get(order_id)
        if placed is not None:
            kind = wish(customers.seed, placed.number).kind
            lines.append(f"order {order_id} ({kind}), placed after kill {placed.kills}:")
        elif order_id:
            lines.append(f"order {order_id}, whose customer was not answered:")
        lines += [f"  {text}" for text in texts[:SHOWN]]
        lines += await _timeline(staff, order_id) if order_id else []
    if len(by_order) > SHOWN:
        lines.append(f"… and {len(by_order) - SHOWN} orders more")
    return "\n".join(lines)


async def _timeline(staff: Client, saga_id: str) -> list[str]:
    answer = await staff.insist("GET", f"/api/sagas/{saga_id}")
    if answer.status != 200:
        return [f"    no saga: {answer.status}"]
    saga = answer.body
    steps = ", ".join(f"{step['name']} {step['status']}" for step in saga["steps"])
    return [
        f"    saga {saga['status']}: {steps}",
        *(
            f"    {event['occurred_at']} {event['participant']}: {event['type']}"
            for event in saga["events"]
        ),
    ]
