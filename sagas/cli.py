"""``sagas``: the engine's command line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sagas.check.commands import add_commands
from sagas.simulate.cli import add_parser

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagas", description="Check, draw and simulate choreographies before they run."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_commands(commands)
    add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code."""
    options = _parser().parse_args(arguments)
    return int(options.run(options))


if __name__ == "__main__":
    sys.exit(main())
