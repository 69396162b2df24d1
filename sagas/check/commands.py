"""The commands ``check``, ``graph`` and ``canvas`` of ``sagas``."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console

from sagas.check import machine, text
from sagas.check.canvas import canvas
from sagas.check.checking import MAX_STATES, Report, check
from sagas.check.drawing import FORMATS, graph
from sagas.check.explore import TooManyStates
from sagas.check.loading import CannotLoad, declaration_finding, load
from sagas.errors import DeclarationError

__all__ = ["add_commands"]

CLEAN, FOUND, WRONG_USAGE = 0, 1, 2
_EXITS = "Exit codes: 0 nothing found, 1 findings, 2 wrong usage, or it could not be checked."
_DRAWS = "Exit codes: 0 written, 2 wrong usage, or there is no such choreography."
_TARGET = "an importable choreography, such as shop.flow:choreography"


def add_commands(commands: Any) -> None:
    """Add them to the subparsers of a parser; each sets ``run``, which returns the exit code."""
    checking = _command(commands, "check", "check a choreography before anything runs", _EXITS)
    checking.add_argument("--format", choices=("human", "json", "sarif", "github"), default="human")
    checking.add_argument(
        "--deadline",
        type=_seconds,
        metavar="SECONDS",
        help="the saga's deadline, to compare with its retries",
    )
    checking.add_argument(
        "--max-states",
        type=_count,
        default=MAX_STATES,
        metavar="N",
        help="give up beyond so many states (default: %(default)s)",
    )
    checking.add_argument(
        "--without-tombstones",
        action="store_true",
        help="ask what would happen if an undo that comes first left no trace",
    )
    checking.set_defaults(run=_check)
    drawing = _command(commands, "graph", "draw the flow of a choreography", _DRAWS)
    drawing.add_argument("--format", choices=tuple(FORMATS), default="mermaid")
    drawing.set_defaults(run=_graph)
    telling = _command(commands, "canvas", "list what each participant hears and does", _DRAWS)
    telling.set_defaults(run=_canvas)


def _command(commands: Any, name: str, what: str, exits: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=what, description=f"{what.capitalize()}.", epilog=exits
    )
    parser.add_argument("target", metavar="MODULE:ATTR", help=_TARGET)
    return parser


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def _check(options: argparse.Namespace) -> int:
    try:
        report = _report(options)
    except (CannotLoad, TooManyStates) as error:
        return _failed(error)
    write: dict[str, Callable[[Report], str]] = {
        "json": machine.json,
        "sarif": machine.sarif,
        "github": text.github,
    }
    if options.format == "human":
        text.human(report, _console())
    else:
        sys.stdout.write(write[options.format](report))
    return CLEAN if report.clean else FOUND


def _console() -> Console:
    """Wraps lines for a terminal (or where ``COLUMNS`` says so); in a file they stay whole."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 100_000
    return console


def _report(options: argparse.Namespace) -> Report:
    try:
        found = load(options.target)
        return check(
            found.choreography,
            rules=found.rules,
            tombstones=not options.without_tombstones,
            deadline_s=found.deadline_s if options.deadline is None else options.deadline,
            max_states=options.max_states,
        )
    except DeclarationError as error:
        return Report(options.target, (declaration_finding(error),))


def _graph(options: argparse.Namespace) -> int:
    try:
        sys.stdout.write(graph(load(options.target).choreography, options.format))
    except (CannotLoad, DeclarationError) as error:
        return _failed(error)
    return CLEAN


def _canvas(options: argparse.Namespace) -> int:
    try:
        sys.stdout.write(canvas(load(options.target).choreography))
    except (CannotLoad, DeclarationError) as error:
        return _failed(error)
    return CLEAN


def _failed(error: Exception) -> int:
    print(f"sagas: {error}", file=sys.stderr)
    return WRONG_USAGE
