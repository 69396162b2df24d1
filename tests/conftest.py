"""What every test may use, and the options of the long ones."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping

import pytest

from tests.steady import SteadyLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Real waiting, on which a slow machine makes nothing late; folders without sockets and
    processes say in their own conftest that their time is virtual."""
    return {"steady": SteadyLoop}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("kill and restart")
    group.addoption(
        "--kills", type=int, default=20, help="how often the shop is killed (default: 20)"
    )
    group.addoption(
        "--kill-seed", default="shop", help="what all chances are drawn from (default: shop)"
    )
    group = parser.getgroup("chaos")
    group.addoption(
        "--chaos-orders", type=int, default=500, help="how many orders come (default: 500)"
    )
    group.addoption(
        "--chaos-blows", type=int, default=25, help="how often the shop is struck (default: 25)"
    )
    group.addoption(
        "--chaos-seed", default="shop", help="what orders and blows are drawn from (default: shop)"
    )
    parser.addoption(
        "--orders",
        type=int,
        default=100_000,
        help="how many orders lists are held against (default: 100,000)",
    )
    parser.getgroup("live conformance").addoption(
        "--live-sagas",
        type=int,
        default=300,
        help="simulated sagas of each world that must give no false alarm (default: 300)",
    )
    group = parser.getgroup("insight")
    group.addoption(
        "--insight-sagas",
        type=int,
        default=300,
        help="simulated sagas through both hosts of insight (default: 300)",
    )
    group.addoption(
        "--insight-kills", type=int, default=5, help="kills of workers and journal (default: 5)"
    )
    parser.getgroup("contract").addoption(
        "--contract-cases",
        type=int,
        default=50,
        help="requests made up for each operation of the API (default: 50)",
    )
    group = parser.getgroup("simulation")
    group.addoption(
        "--same-seeds", type=int, default=100, help="worlds played in two processes (default: 100)"
    )
    group.addoption(
        "--search-mutants", action="store_true", help="find each anew, within 2,000 seeds"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):
    """Where ``REQUIRE_SERVICES=1`` says that all is there, a test that is skipped has failed."""
    report = yield
    required = os.environ.get("REQUIRE_SERVICES") == "1"
    if required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"REQUIRE_SERVICES=1, so nothing may be skipped, and this was: {reason}"
    return report
