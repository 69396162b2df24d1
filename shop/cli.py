"""``shop``: the command line."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import uvloop

from participants.process import add_settings
from participants.settings import ShopSettings
from sagas import SettingError, StoreUnavailable
from sagas.logs import set_up_logging
from sagas.system import allow_many_files, collect_rarely
from shop.demo import demo
from shop.processes import MOST_INSTANCES, run_processes
from shop.run import run

__all__ = ["main"]

T = TypeVar("T")

EXITS = "Exit codes: 0 done, 1 failed, 2 wrong usage or setting."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="shop", description="A shop of six services as choreographed sagas.", epilog=EXITS
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    text = "start the whole shop"
    running = commands.add_parser(
        "run",
        help=text,
        description="Start the whole shop: in this process, or, on a broker that processes share, "
        "each service in a process of its own.",
        epilog=EXITS,
    )
    add_settings(running)
    running.add_argument(
        "--instances",
        metavar="N",
        type=int,
        default=1,
        choices=range(1, MOST_INSTANCES + 1),
        help=f"processes of each service, 1 to {MOST_INSTANCES}; default: 1",
    )
    text = "place one order for each scripted outcome and watch its saga"
    showing = commands.add_parser("demo", help=text, description=text.capitalize() + ".")
    showing.add_argument(
        "--url", help="a running shop with the demo seed; without it one is started for the demo"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit code."""
    options = vars(_parser().parse_args(arguments))
    command = options.pop("command")
    try:
        if command == "demo":
            set_up_logging(requests=False)
            return _run(demo(options["url"]))
        instances = options.pop("instances")
        settings = ShopSettings.from_environment(**options)
        set_up_logging(requests=settings.request_log == "stdout")
        if settings.broker_url != "embedded:":
            return _run(run_processes(settings, instances))
        if instances > 1:
            raise SettingError(
                f"{instances} instances need a broker that they share: choose --broker-url rabbitmq"
            )
        _run(run(settings))
    except SettingError as error:
        print(f"shop: {error}", file=sys.stderr)
        return 2
    except StoreUnavailable as error:
        print(f"shop: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        said = error.strerror or str(error)
        hint = "; see SHOP_HOST and SHOP_PORT_BASE" if "cannot listen" in said else ""
        print(f"shop: {said}{hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 1
    return 0


def _run(main: Coroutine[Any, Any, T]) -> T:
    collect_rarely()
    allow_many_files()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


if __name__ == "__main__":
    sys.exit(main())
