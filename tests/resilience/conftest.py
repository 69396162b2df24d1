"""Scenarios run on virtual time: a day passes in a millisecond, and nobody sleeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from sagas.testing.virtual import VirtualLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"virtual": VirtualLoop}
