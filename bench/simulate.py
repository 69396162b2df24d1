"""Simulated sagas a second a core, faults on, in worlds of one to five sagas.

CPU time is what counts, that of the worlds' processes from fork to exit, so that it says the same
on a machine that does other things, too. Run: ``make bench-simulate`` (or ``python -m
bench.simulate --help``).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence

from sagas.simulate.cli import load_world
from sagas.simulate.many import Played, play_many
from sagas.simulate.world import World

__all__ = ["main"]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.simulate", description=__doc__)
    parser.add_argument(
        "--world",
        action="append",
        metavar="MODULE:WORLD",
        help="default: the shop, and the small choreography of the tests; taken in turns",
    )
    parser.add_argument("--seeds", type=int, default=600, help="worlds in a round (default: 600)")
    parser.add_argument("--rounds", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    return parser


def _round(world: World, seeds: Sequence[int], jobs: int) -> tuple[Played, float]:
    total, begin = Played(), time.monotonic()
    for played in play_many(world, seeds, jobs=jobs):
        total.add(played)
    return total, time.monotonic() - begin


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 1 if a world did not hold."""
    options = _arguments().parse_args(arguments)
    specs = options.world or ["participants.simulation:world", "tests.simulation.counting:world"]
    rates: dict[str, list[float]] = {spec: [] for spec in specs}
    broken = 0
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]}")
    print("world                               sagas   CPU s  sagas/s/core  worlds/s/core  wall s")
    for turn in range(options.rounds):
        seeds = range(turn * options.seeds, (turn + 1) * options.seeds)
        for spec in specs:  # in turns: what else the machine does falls on all alike
            total, seconds = _round(load_world(spec), seeds, options.jobs)
            rates[spec].append(total.sagas / total.cpu_s)
            broken += len(total.broken)
            print(
                f"{spec:<34} {total.sagas:>6,} {total.cpu_s:>7.2f} {rates[spec][-1]:>13.0f} "
                f"{total.worlds / total.cpu_s:>14.0f} {seconds:>7.1f}"
            )
    for spec, found in rates.items():
        print(
            f"{spec}: {statistics.median(found):.0f} sagas a second a core "
            f"({min(found):.0f} to {max(found):.0f} in {len(found)} rounds)"
        )
    if broken:
        print(f"{broken} worlds did not hold", file=sys.stderr)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
