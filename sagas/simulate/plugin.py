"""A pytest plugin: a choreography's worlds in one line of a test.

    pytest_plugins = ["sagas.simulate.plugin"]          # in conftest.py

    def test_nothing_is_lost(sagas):
        sagas.hold(world)

``--saga-seeds 2000`` plays more of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from sagas.simulate.run import play
from sagas.simulate.shrink import shrink
from sagas.simulate.world import World

__all__ = ["Sagas", "pytest_addoption", "sagas"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("sagas").addoption(
        "--saga-seeds", type=int, default=100, help="worlds to play in each test (default: 100)"
    )


class Sagas:
    """The fixture. ``seeds`` is what the command line asks for."""

    def __init__(self, seeds: int) -> None:
        self.seeds = seeds

    def hold(self, world: World, seeds: Iterable[int] | None = None) -> None:
        """Fail, with the shortest schedule and its trace, at the first seed that breaks something.

        ``seeds``: these instead of the first ``--saga-seeds``.
        """
        for seed in range(self.seeds) if seeds is None else seeds:
            result = play(world, world.schedule(seed))
            if not result.failed:
                continue
            shortest = shrink(world, result)
            parts = [
                f"seed {seed} breaks: " + "; ".join(shortest.problems),
                *(str(fault) for fault in shortest.schedule.faults or ("no faults at all",)),
                *shortest.trace.lines(),
            ]
            pytest.fail("\n".join(parts), pytrace=False)


@pytest.fixture
def sagas(request: pytest.FixtureRequest) -> Sagas:
    return Sagas(request.config.getoption("--saga-seeds"))
