"""How a shop says that it is open: when it is ready, where everything is, and a first order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiohttp import ClientError, ClientSession, ClientTimeout

from participants.settings import ShopSettings

__all__ = ["banner", "shop_url", "tell_when_open", "wait_ready"]

#: Then it is told that something is missing, and again.
SLOW_S = 30.0


def shop_url(settings: ShopSettings) -> str:
    """Where the gateway listens."""
    return f"http://{settings.host}:{settings.port_base}"


async def wait_ready(url: str) -> None:
    """Until the gateway says ready: every service is, and the seed can be ordered.

    Waits for ever; bound it.
    """
    async with ClientSession(timeout=ClientTimeout(total=5)) as session:
        while True:
            if await _is_ready(session, url):
                return
            await asyncio.sleep(0.05)


async def _is_ready(session: ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as answer:
            found = await answer.json()
    except (ClientError, TimeoutError):
        return False  # in a process of its own, it may not even listen yet
    return bool(found["status"] == "ready")


async def tell_when_open(
    settings: ShopSettings, addresses: Mapping[str, str], *, slow_s: float = SLOW_S
) -> None:
    """Print the banner once the shop is open, and every ``slow_s`` until then where to look."""
    url = shop_url(settings)
    while True:
        try:
            async with asyncio.timeout(slow_s):
                await wait_ready(url)
        except TimeoutError:
            print(f"Not open yet: {url}/health/ready tells what is missing.", flush=True)
        else:
            return print(banner(settings, addresses), flush=True)


def banner(settings: ShopSettings, addresses: Mapping[str, str]) -> str:
    """What a newcomer needs: addresses, logins, and one line that places an order."""
    url = shop_url(settings)
    lines = [f"The shop is open at {url}  (data in {settings.data_dir.resolve()})", ""]
    lines += [f"  {name:<10} {address}" for name, address in addresses.items()]
    if settings.seed == "demo":
        lines += [
            "",
            "  staff     staff@example.com     staff-demo-password",
            "  customer  customer@example.com  customer-demo-password",
            "",
            "Place an order:",
            "",
            f"  TOKEN=$(curl -s {url}/api/sessions -H 'Content-Type: application/json' "
            '-d \'{"email":"customer@example.com","password":"customer-demo-password"}\' '
            "| python3 -c 'import json,sys; print(json.load(sys.stdin)[\"access_token\"])') && "
            f'curl -s {url}/api/orders -H "Authorization: Bearer $TOKEN" '
            "-H 'Content-Type: application/json' -H 'Prefer: wait=10' "
            '-d \'{"lines":[{"sku":"LAMP-01","quantity":2}],'
            '"payment":{"method":"card","token":"tok_ok"},'
            '"shipping_address":{"line1":"1 Main St","city":"Springfield",'
            '"postal_code":"12345","country":"US"}}\'',
        ]
    lines += ["", "Ctrl-C stops it."]
    return "\n".join(lines)
