"""A pytest plugin, there as soon as the package is: a choreography in one line of a test.

    def test_every_failure_is_undone(sagas):
        sagas.check(trip)

    def test_nothing_is_lost(sagas):
        sagas.hold(world)

``--saga-seeds 2000`` plays more worlds.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from io import StringIO

import pytest
from rich.console import Console

from sagas.check import Never, check
from sagas.check.text import human
from sagas.flow import Choreography
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

    def check(
        self,
        choreography: Choreography,
        *,
        rules: Sequence[Never] = (),
        deadline_s: float | None = None,
    ) -> None:
        """Fail with everything that ``sagas check`` finds: places, words and traces."""
        report = check(choreography, rules=rules, deadline_s=deadline_s)
        if report.clean:
            return
        told = StringIO()
        human(report, Console(file=told, width=100))
        pytest.fail(told.getvalue(), pytrace=False)

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
