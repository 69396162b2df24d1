"""What every test may use, and the options of the long ones."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kill and restart")
    group.addoption(
        "--kills", type=int, default=20, help="how often the shop is killed (default: 20)"
    )
    group.addoption(
        "--kill-seed", default="shop", help="what all chances are drawn from (default: shop)"
    )
    parser.addoption(
        "--orders",
        type=int,
        default=100_000,
        help="how many orders lists are held against (default: 100,000)",
    )
