"""``sagas``: the engine's command line."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from sagas import republish
from sagas.check.commands import add_commands
from sagas.simulate.cli import add_parser

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sagas", description="Check, draw and simulate choreographies; refill their queues."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_commands(commands)
    add_parser(commands)
    republish.add_parser(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code: 130 after Ctrl-C, 141 when nobody reads on."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that knows no arrows gets question marks, not a traceback.
        sys.stdout.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    try:
        code = int(options.run(options))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


if __name__ == "__main__":
    sys.exit(main())
