"""``shop demo``: one order for each scripted outcome, its saga's timeline, and a verdict."""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from aiohttp import ClientError, ClientSession, ClientTimeout
from rich.console import Console
from rich.table import Column, Table

from participants.settings import ShopSettings
from sagas.envelope import timestamp
from shop.run import Shop

__all__ = ["demo"]

CUSTOMER = {"email": "customer@example.com", "password": "customer-demo-password"}
STAFF = {"email": "staff@example.com", "password": "staff-demo-password"}
SETTLED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the outcome table, and what must have become of its order."""

    title: str
    token: str = "tok_ok"
    sku: str = "LAMP-01"
    quantity: int = 1
    postal_code: str = "12345"
    code: str | None = None
    charges: int = 1

    @property
    def status(self) -> str:
        return "delivered" if self.code is None else "cancelled"

    @property
    def sold(self) -> int:
        """How many pieces are gone afterwards: a parcel that is lost does not come back."""
        return self.quantity if self.code in (None, "lost_in_transit") else 0

    @property
    def saga(self) -> str:
        return "completed" if self.code is None else "compensated"


ROWS = (
    Row("tok_ok: authorised and captured"),
    Row(
        "tok_declined: the card is declined",
        token="tok_declined",
        code="payment_declined",
        charges=0,
    ),
    Row("tok_flaky: fails twice, then succeeds", token="tok_flaky"),
    Row("tok_timeout: the answer is lost, found by its key", token="tok_timeout"),
    Row(
        "tok_outage: down for good, voided",
        token="tok_outage",
        code="payment_unavailable",
        charges=0,
    ),
    Row("more than is available", sku="RARE-01", quantity=6, code="insufficient_stock"),
    Row("postal code 00000: undeliverable", postal_code="00000", code="undeliverable_address"),
    Row("postal code 99999: lost in transit", postal_code="99999", code="lost_in_transit"),
)


class DemoFailed(Exception):
    """The shop did not answer as its contract says."""


class _Client:
    def __init__(self, session: ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")
        self._headers: dict[str, str] = {}

    async def sign_in(self, account: dict[str, str]) -> None:
        answer = await self.call("POST", "/api/sessions", account)
        self._headers = {"Authorization": f"Bearer {answer['access_token']}"}

    async def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        async with self._session.request(
            method, self._url + path, json=body, headers=self._headers
        ) as answer:
            content: dict[str, Any] = await answer.json(content_type=None)
            if answer.status >= 400:
                raise DemoFailed(f"{method} {path}: {answer.status} {content.get('detail', '')}")
            return content

    async def stream(self, path: str) -> AsyncIterator[dict[str, Any]]:
        headers = {**self._headers, "Accept": "text/event-stream"}
        timeout = ClientTimeout(total=SETTLED_WITHIN_S)
        async with self._session.get(self._url + path, headers=headers, timeout=timeout) as answer:
            if answer.status != 200:
                raise DemoFailed(f"GET {path}: {answer.status} {await answer.text()}")
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield orjson.loads(line[5:])


async def demo(url: str | None) -> int:
    """Run every row; 0 when each ended as the table says."""
    console = Console()
    try:
        async with _shop(url, console) as where, ClientSession() as session:
            customer, staff = _Client(session, where), _Client(session, where)
            await customer.sign_in(CUSTOMER)
            await staff.sign_in(STAFF)
            # In a shop that is somebody's, others may be buying the same at the same time.
            counts = url is None
            results = [await _play(row, customer, staff, console, counts) for row in ROWS]
    except (DemoFailed, ClientError, TimeoutError) as error:
        console.print(f"[red]The demo failed:[/red] {error or type(error).__name__}")
        return 1
    console.print(_summary(results))
    return 0 if not any(wrong for _, _, wrong in results) else 1


@asynccontextmanager
async def _shop(url: str | None, console: Console) -> AsyncIterator[str]:
    if url is not None:
        if not url.startswith(("http://", "https://")):
            raise DemoFailed(f"{url!r} is no address such as http://localhost:3000")
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="shop-demo-") as folder:
        settings = ShopSettings(
            data_dir=Path(folder), port_base=_free_ports(), carrier_step_s=0.3, seed="demo"
        )
        shop = Shop(settings)
        try:
            await shop.start()
            await shop.wait_ready()
            console.print(f"A shop for this demo is open at {shop.url}\n")
            yield shop.url
        finally:
            await shop.stop()


def _free_ports(count: int = 8) -> int:
    """The first of ``count`` free ports in a row."""
    for base in range(3000, 65_000, 10):
        sockets: list[socket.socket] = []
        try:
            for port in range(base, base + count):
                opened = socket.socket()
                sockets.append(opened)
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                opened.bind(("127.0.0.1", port))
        except OSError:
            continue
        else:
            return base
        finally:
            for opened in sockets:
                opened.close()
    raise DemoFailed("no eight free ports in a row")


async def _play(
    row: Row, customer: _Client, staff: _Client, console: Console, counts_stock: bool
) -> tuple[Row, str, list[str]]:
    console.rule(row.title, align="left")
    stock = await _stock(row, staff) if counts_stock else None
    placed = await customer.call(
        "POST",
        "/api/orders",
        {
            "lines": [{"sku": row.sku, "quantity": row.quantity}],
            "payment": {"method": "card", "token": row.token},
            "shipping_address": {
                "line1": "1 Main St",
                "city": "Springfield",
                "postal_code": row.postal_code,
                "country": "US",
            },
        },
    )
    started: float | None = None
    async for event in customer.stream(placed["links"]["events"]):
        at = timestamp(event["occurred_at"])
        started = at if started is None else started
        code = event["data"].get("code") or event["data"].get("reason") or ""
        console.print(
            f"  {at - started:7.3f} s  {event['participant']:<10} "
            f"[bold]{event['type']}[/bold]  [dim]{code}[/dim]"
        )
    wrong = await _verdict(row, placed["order_id"], customer, staff, stock)
    console.print("  [red]" + "; ".join(wrong) + "[/red]\n" if wrong else "")
    return row, placed["order_id"], wrong


async def _stock(row: Row, staff: _Client) -> tuple[int, int]:
    level = await staff.call("GET", f"/api/inventory/{row.sku}")
    return level["on_hand"], level["reserved"]


async def _verdict(
    row: Row, order_id: str, customer: _Client, staff: _Client, stock: tuple[int, int] | None
) -> list[str]:
    """What is not as the table says; the services may need a moment to have heard everything.

    ``stock``: on hand and reserved before the order, when nobody else takes from it.
    """
    wrong: list[str] = []
    for _ in range(50):
        order = await customer.call("GET", f"/api/orders/{order_id}")
        saga = await staff.call("GET", f"/api/sagas/{order_id}")
        payments = (await staff.call("GET", f"/api/payments?order_id={order_id}"))["items"]
        code = (order["cancellation"] or {}).get("code")
        charges = sum(payment["charges"] for payment in payments)
        found: dict[str, tuple[Any, Any]] = {
            "order": (order["status"], row.status),
            "code": (code, row.code),
            "saga": (saga["status"], row.saga),
            "charges": (charges, row.charges),
            "violations": ([each["rule"] for each in saga["violations"]], []),
        }
        if row.code is not None and charges:
            refunded = sum(payment["refunded"]["amount"] for payment in payments)
            found["refunded"] = (refunded, order["total"]["amount"])
        if stock is not None:
            found["stock"] = (await _stock(row, staff), (stock[0] - row.sold, stock[1]))
        wrong = [
            f"{name} is {is_!r}, not {should!r}"
            for name, (is_, should) in found.items()
            if is_ != should
        ]
        if not wrong:
            break
        await asyncio.sleep(0.1)
    return wrong


def _summary(results: list[tuple[Row, str, list[str]]]) -> Table:
    # Where the window is narrow the words of the title are folded, never a code cut.
    columns = [Column(name, no_wrap=True) for name in ("order", "code", "saga")]
    table = Table(
        Column("outcome", overflow="fold"), *columns, "found", title="What the contract promises"
    )
    for row, _, wrong in results:
        verdict = "[red]" + "; ".join(wrong) + "[/red]" if wrong else "[green]as promised[/green]"
        table.add_row(row.title, row.status, row.code or "", row.saga, verdict)
    return table
