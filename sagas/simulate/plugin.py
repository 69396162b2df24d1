"""A pytest plugin, there as soon as the package is: a choreography in one line of a test.

    def test_every_failure_is_undone(sagas):
        sagas.check(trip)

    def test_nothing_is_lost(sagas):
        sagas.hold(world)

    def test_a_crash_at_any_await_changes_nothing(sagas):
        sagas.sweep(world)

``--saga-seeds 2000`` plays more worlds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from io import StringIO

import pytest
from rich.console import Console

from sagas.check import Never, check
from sagas.check.text import human
from sagas.flow import Choreography
from sagas.simulate.cli import count
from sagas.simulate.many import Item, Played, play_many
from sagas.simulate.report import show_failure, show_unrepeatable
from sagas.simulate.run import play
from sagas.simulate.shrink import shrink
from sagas.simulate.sweep import crash_pairs, crash_points, scenario, swept
from sagas.simulate.world import World

__all__ = ["Sagas", "pytest_addoption", "sagas"]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("sagas")
    group.addoption(
        "--saga-seeds", type=count, default=100, help="worlds to play in each test (default: 100)"
    )
    group.addoption(
        "--saga-jobs", type=count, help="processes that play them (default: one for each core)"
    )


class Sagas:
    """The fixture. ``seeds`` and ``jobs`` are what the command line asks for."""

    def __init__(self, seeds: int, jobs: int | None = None) -> None:
        self.seeds = seeds
        self.jobs = jobs

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

    def hold(self, world: World, seeds: Sequence[int] | None = None) -> Played:
        """Fail, with the shortest schedule and its trace, at the first seed that breaks something.

        ``seeds``: these instead of the first ``--saga-seeds``. Returns what was played.
        """
        return self._hold(world, range(self.seeds) if seeds is None else seeds)

    def sweep(self, world: World, seed: int = 0, *, pairs: int = 0) -> Played:
        """Fail if a crash breaks something: at any await, or beside any call, of one saga.

        It is the first one of ``seed``. ``pairs``: after that, so many with two crashes.
        """
        schedule = scenario(world, seed)
        points = crash_points(world, schedule)
        return self._hold(world, swept(schedule, [*points, *crash_pairs(points, seed, pairs)]))

    def _hold(self, world: World, items: Sequence[Item]) -> Played:
        if not items:
            pytest.fail("there is nothing to play: name at least one seed", pytrace=False)
        total = Played()
        with closing(play_many(world, items, jobs=self.jobs)) as batches:
            for played in batches:
                total.add(played)
                if total.broken:
                    _fail(world, items[total.broken[0].place], total.broken[0].problems)
        return total


def _fail(world: World, item: Item, problems: Sequence[str]) -> None:
    schedule = world.schedule(item) if isinstance(item, int) else item
    told = StringIO()
    console = Console(file=told, width=120)
    again = play(world, schedule, traced=False)
    if again.failed:
        shortest = shrink(world, again)
        problems = shortest.problems
        show_failure(console, _where(world), shortest)
    else:
        show_unrepeatable(console, schedule, problems)
    broken = "; ".join(problems)
    pytest.fail(f"seed {schedule.seed} breaks: {broken}\n{told.getvalue()}", pytrace=False)


def _where(world: World) -> str:
    """The name by which the command line finds this world."""
    for name, module in list(sys.modules.items()):
        for attribute, value in list(getattr(module, "__dict__", {}).items()):
            if value is world:
                return f"{name}:{attribute}"
    return "MODULE:WORLD"


@pytest.fixture
def sagas(request: pytest.FixtureRequest) -> Sagas:
    options = request.config
    return Sagas(options.getoption("--saga-seeds"), options.getoption("--saga-jobs"))
