"""The shop on MongoDB, through its API: what would be an operator there is text, or is refused."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from tests.contract.conftest import clients_of, stage_in
from tests.contract.test_injection import PLACES, everything_tried
from tests.mongodb.server import own_databases


async def test_operators_match_nothing_in_mongodb(tmp_path: Path) -> None:
    async with own_databases() as url:
        with ExitStack() as stack:
            opening = stage_in(tmp_path, store_url=url)
            stage = await asyncio.to_thread(stack.enter_context, opening)
            async with clients_of(stage) as shop:
                tried = await everything_tried(stage, shop)
            assert tried >= 30 * len(PLACES)
            await asyncio.to_thread(stack.close)
