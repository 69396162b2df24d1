"""``sagas simulate module:world``: thousands of worlds, each from one seed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sagas.check.loading import CannotLoad, import_named
from sagas.errors import DeclarationError
from sagas.simulate.many import Item, Played, WorkerLost, play_many
from sagas.simulate.report import list_broken, show_failure, show_timeline, show_unrepeatable
from sagas.simulate.run import Result, play
from sagas.simulate.schedule import SECOND, STEP, Fault
from sagas.simulate.shrink import shrink
from sagas.simulate.sweep import DOWN_S, crash_pairs, crash_points, scenario, swept
from sagas.simulate.truth import TRACKER
from sagas.simulate.world import World

__all__ = ["add_parser", "count", "load_world", "main", "run"]

EXITS = "Exit codes: 0 everything held, 1 an invariant was broken, 2 wrong usage."


class Unusable(Exception):
    """The command names something that is not there."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``simulate`` to a command line's subcommands; ``run`` takes what it parses."""
    text = "play a choreography under faults, once for each seed"
    parser = commands.add_parser(
        "simulate", help=text, description=f"{text.capitalize()}.", epilog=EXITS
    )
    _arguments(parser)
    parser.set_defaults(run=run)


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("world", metavar="MODULE:WORLD", help="an importable World")
    parser.add_argument("--seeds", type=count, default=200, help="how many (default: 200)")
    parser.add_argument("--first", type=_natural, default=0, help="the first seed (default: 0)")
    parser.add_argument("--seed", type=_natural, help="play this one alone and show its timeline")
    parser.add_argument("--jobs", type=count, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument(
        "--only-sagas", type=_places, metavar="0,2", help="of --seed, keep these sagas"
    )
    parser.add_argument(
        "--only-faults", type=_places, metavar="1|none", help="of --seed, keep these faults"
    )
    parser.add_argument(
        "--crash",
        type=_crash,
        action="append",
        default=[],
        metavar="ORDER:STEP:7",
        help="with --seed: also crash this process when it passes this point for the n-th time",
    )
    parser.add_argument("--trace", action="store_true", help="with --seed: print plain lines only")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help="the first saga of --seed (default: 0) without faults, then with a crash at each "
        "await, and on either side of each call, in turn",
    )
    parser.add_argument("--pairs", type=_natural, default=0, help="after that, so many with two")


def count(text: str) -> int:
    """A whole number from 1, for ``argparse``."""
    number = _natural(text)
    if number == 0:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _natural(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0")
    return int(text)


def _places(text: str) -> list[int]:
    return [] if text == "none" else [_natural(each) for each in text.split(",")]


def _crash(text: str) -> Fault:
    try:
        return Fault.parse_crash(text, DOWN_S)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m sagas.simulate``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="sagas simulate", epilog=EXITS)
    _arguments(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Do what was parsed. Returns the exit code."""
    try:
        _refuse_what_is_ignored(options)
        world = load_world(options.world)
        if options.sweep:
            return _sweep(world, options)
        if options.seed is not None:
            return _one(world, options)
        return _seeds(world, options)
    except (Unusable, WorkerLost) as error:
        print(f"sagas simulate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sagas simulate: interrupted", file=sys.stderr)
        return 130


def _refuse_what_is_ignored(options: argparse.Namespace) -> None:
    of_one_seed = {
        "--only-sagas": options.only_sagas is not None,
        "--only-faults": options.only_faults is not None,
        "--crash": bool(options.crash),
        "--trace": options.trace,
    }
    for option, given in of_one_seed.items():
        if given and (options.seed is None or options.sweep):
            raise Unusable(f"{option} is for one seed: name it by --seed, without --sweep")
    if options.pairs and not options.sweep:
        raise Unusable("--pairs belongs to --sweep: name both")


def load_world(spec: str) -> World:
    """The world that ``module:name`` names; ``Unusable`` when there is none."""
    try:
        module, name = import_named(spec, such_as="trips.simulation:world")
    except (CannotLoad, DeclarationError) as error:
        raise Unusable(str(error)) from error
    found = getattr(module, name, None)
    if isinstance(found, World):
        return found
    others = [key for key, value in vars(module).items() if isinstance(value, World)]
    there = f"it has {', '.join(others)}" if others else "it has none"
    raise Unusable(f"{module.__name__} has no world {name!r}; {there}")


# ---------------------------------------------------------------------------------------- one


def _one(world: World, options: argparse.Namespace) -> int:
    schedule = world.schedule(options.seed)
    for word, kept, there in (
        ("sagas", options.only_sagas, schedule.scripts),
        ("faults", options.only_faults, schedule.faults),
    ):
        if kept is not None and any(place >= len(there) for place in kept):
            raise Unusable(f"seed {options.seed} has {len(there)} {word}, counted from 0")
    names = {*(each.name for each in world.choreography.participants), TRACKER}
    for crash in options.crash:
        if crash.process.removesuffix(SECOND) not in names:
            raise Unusable(f"there is no process {crash.process!r}; there are {sorted(names)}")
    kept = schedule.keeping(options.only_sagas, options.only_faults)
    result = play(world, kept.adding(*options.crash))
    if options.trace:
        print("\n".join(result.trace.lines()))
        return int(result.failed)
    console = Console()
    if result.failed:
        show_failure(console, options.world, result)
        return 1
    show_timeline(console, result)
    console.print("Everything held.")
    for crash in options.crash:
        process, passed = _passed(result, crash)
        if passed < crash.nth:
            console.print(
                f"{crash.as_option} never came: {process} passed that point {passed} times.",
                highlight=False,
                soft_wrap=True,
            )
    return 0


def _passed(result: Result, crash: Fault) -> tuple[str, int]:
    """Who was to crash, the first instance where there is no second, and how often it was there."""
    first = crash.process.removesuffix(SECOND)
    process = crash.process if crash.process in result.reached else first
    return process, result.reached.get(process, {}).get(crash.point, 0)


# --------------------------------------------------------------------------------------- many


def _seeds(world: World, options: argparse.Namespace) -> int:
    seeds = range(options.first, options.first + options.seeds)
    return _many(world, seeds, options)


def _sweep(world: World, options: argparse.Namespace) -> int:
    schedule = scenario(world, options.seed or 0)
    points = crash_points(world, schedule)
    pairs = crash_pairs(points, schedule.seed, options.pairs)
    awaits = sum(point.point == STEP for point in points)
    print(
        f"a crash at each of {awaits:,} awaits, on each of {len(points) - awaits:,} sides of "
        f"calls, and {len(pairs):,} pairs of crashes"
    )
    return _many(world, swept(schedule, [*points, *pairs]), options)


def _many(world: World, items: Sequence[Item], options: argparse.Namespace) -> int:
    total, begin = Played(), time.monotonic()
    # It draws itself when a batch is over: a thread that draws would be forked into each.
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
    ) as progress:
        bar = progress.add_task("worlds", total=len(items))
        with closing(play_many(world, items, jobs=options.jobs)) as batches:
            for played in batches:
                total.add(played)
                found = f"worlds, [red]{len(total.broken)} broken[/]" if total.broken else "worlds"
                progress.update(bar, completed=total.worlds, description=found, refresh=True)
                if total.broken and not options.keep_going:
                    break
    return _report(world, items, options, total, time.monotonic() - begin)


def _report(
    world: World,
    items: Sequence[Item],
    options: argparse.Namespace,
    total: Played,
    seconds: float,
) -> int:
    console = Console()
    told = f"{total.worlds:,} worlds, {total.sagas:,} sagas, {total.crashes:,} crashes"
    rate = total.sagas / max(total.cpu_s, 1e-9)
    print(f"({seconds:.1f} s; {rate:.0f} sagas a second a core)", file=sys.stderr)
    if not total.broken:
        console.print(f"Everything held: {told}.", highlight=False, soft_wrap=True)
        return 0
    first = items[total.broken[0].place]
    found = play(world, world.schedule(first) if isinstance(first, int) else first, traced=False)
    if found.failed:
        show_failure(console, options.world, shrink(world, found))
    else:
        show_unrepeatable(console, found.schedule, total.broken[0].problems)
    if options.keep_going:
        list_broken(console, items, total)
    console.print(f"{len(total.broken):,} broken of {told}.", highlight=False, soft_wrap=True)
    return 1
