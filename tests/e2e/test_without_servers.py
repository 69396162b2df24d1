"""The shop is started on servers that are not there."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

from tests.e2e.kill.process import ShopProcess


async def test_it_says_what_is_missing_waits_and_stops_when_told_to(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens, and nobody else can begin to
        port = taken.getsockname()[1]
        url = f"amqp://guest:guest@127.0.0.1:{port}/"
        async with ShopProcess(tmp_path, broker_url=url) as shop:
            await shop.start()
            await shop.said(f"Nothing listens at 127.0.0.1:{port} yet: `make services`".encode())
            await shop.said(b"payment   | ")
            code, said = await shop.end(signal.SIGTERM)
    assert code == 0, said
    assert "Stopping …" in said
    assert "starts again" not in said, "it should wait, not fail"
