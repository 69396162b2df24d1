"""``sagas simulate module:world``: thousands of worlds, each from one seed."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sagas.simulate.report import show_failure, show_timeline
from sagas.simulate.run import play
from sagas.simulate.shrink import shrink
from sagas.simulate.world import World

__all__ = ["add_parser", "main", "run"]

EXITS = "Exit codes: 0 everything held, 1 an invariant was broken, 2 wrong usage."
#: Seeds that one job plays: large enough that handing out jobs costs nothing.
BATCH = 20


class Unusable(Exception):
    """The command names something that is not there."""


@dataclass(slots=True)
class Played:
    """What became of a batch of seeds."""

    seeds: int = 0
    sagas: int = 0
    crashes: int = 0
    failed: list[int] = field(default_factory=list)


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
    parser.add_argument("--seeds", type=_count, default=200, help="how many (default: 200)")
    parser.add_argument("--first", type=_natural, default=0, help="the first seed (default: 0)")
    parser.add_argument("--seed", type=_natural, help="play this one alone and show its timeline")
    parser.add_argument("--jobs", type=_count, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument(
        "--only-sagas", type=_places, metavar="0,2", help="of --seed, keep these sagas"
    )
    parser.add_argument(
        "--only-faults", type=_places, metavar="1|none", help="of --seed, keep these faults"
    )
    parser.add_argument("--trace", action="store_true", help="with --seed: print plain lines only")


def _count(text: str) -> int:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m sagas.simulate``. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="sagas simulate", epilog=EXITS)
    _arguments(parser)
    return run(parser.parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Do what was parsed. Returns the exit code."""
    try:
        world = load_world(options.world)
        if options.seed is not None:
            return _one(world, options)
    except Unusable as error:
        print(f"sagas simulate: {error}", file=sys.stderr)
        return 2
    return _many(world, options)


def load_world(spec: str) -> World:
    """The world that ``module:name`` names; ``Unusable`` when there is none."""
    module, _, name = spec.partition(":")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name or "world")
    except (ImportError, AttributeError, ValueError) as error:
        raise Unusable(f"{spec!r} cannot be imported ({error}); name it as module:world") from error
    if not isinstance(found, World):
        raise Unusable(f"{spec!r} is a {type(found).__name__}, not a World")
    return found


# ---------------------------------------------------------------------------------------- one


def _one(world: World, options: argparse.Namespace) -> int:
    schedule = world.schedule(options.seed)
    for word, kept, there in (
        ("sagas", options.only_sagas, schedule.scripts),
        ("faults", options.only_faults, schedule.faults),
    ):
        if kept is not None and any(place >= len(there) for place in kept):
            raise Unusable(f"seed {options.seed} has {len(there)} {word}, counted from 0")
    result = play(world, schedule.keeping(options.only_sagas, options.only_faults))
    if options.trace:
        print("\n".join(result.trace.lines()))
        return int(result.failed)
    console = Console()
    if result.failed:
        show_failure(console, options.world, result)
        return 1
    show_timeline(console, result)
    console.print("Everything held.")
    return 0


# --------------------------------------------------------------------------------------- many


def play_seeds(spec: str, seeds: Sequence[int]) -> Played:
    """Play these; also the work of one job in another process."""
    world, played = load_world(spec), Played()
    with _rare_collection():
        for seed in seeds:
            result = play(world, world.schedule(seed))
            played.seeds += 1
            played.sagas += len(result.schedule.scripts)
            played.crashes += result.crashes
            if result.failed:
                played.failed.append(seed)
    return played


@contextmanager
def _rare_collection() -> Iterator[None]:
    """A world is full of cycles and over in a moment: collect between batches, not within."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def _many(world: World, options: argparse.Namespace) -> int:
    console = Console(stderr=True)
    seeds = range(options.first, options.first + options.seeds)
    total = Played()
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        bar = progress.add_task("worlds", total=len(seeds))
        for played in _batches(options, seeds):
            total.seeds += played.seeds
            total.sagas += played.sagas
            total.crashes += played.crashes
            total.failed += played.failed
            progress.update(bar, completed=total.seeds)
            if total.failed and not options.keep_going:
                break
    return _report(world, options, total)


def _batches(options: argparse.Namespace, seeds: Sequence[int]) -> Iterator[Played]:
    starts = range(0, len(seeds), BATCH)
    parts: Iterable[Sequence[int]] = (seeds[start : start + BATCH] for start in starts)
    if options.jobs == 1:
        for part in parts:
            yield play_seeds(options.world, part)
        return
    # A fresh interpreter for each: nothing of this process's state can leak into a world.
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        waiting: set[Future[Played]] = set()
        try:
            while True:
                for part in islice(parts, 2 * options.jobs - len(waiting)):
                    waiting.add(pool.submit(play_seeds, options.world, part))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    yield each.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _report(world: World, options: argparse.Namespace, total: Played) -> int:
    console = Console()
    told = f"{total.seeds:,} worlds, {total.sagas:,} sagas, {total.crashes:,} crashes"
    if not total.failed:
        console.print(f"Everything held: {told}.")
        return 0
    first = min(total.failed)
    shortest = shrink(world, play(world, world.schedule(first)))
    show_failure(console, options.world, shortest)
    if options.keep_going:
        console.print(f"Failed seeds: {', '.join(map(str, sorted(total.failed)))}")
    console.print(f"{len(total.failed)} of {told} failed.")
    return 1
