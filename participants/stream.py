"""``python -m participants.stream``: a worker on the event stream, in Faust."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

from participants.choreography import shop as choreography
from participants.insight import business
from participants.process import add_settings
from participants.settings import WORKER_PORT, ShopSettings
from sagas import SettingError
from sagas.insight.address import kafka_address
from sagas.logs import set_up_logging
from sagas.system import SystemClock
from sagas.tracker import plan_of
from sagas.web.auth import Tokens

__all__ = ["main"]


def main() -> int:
    """Work until Ctrl-C or SIGTERM. Returns the exit code where nothing was begun."""
    parser = argparse.ArgumentParser(
        prog="python -m participants.stream",
        description="One worker on the event stream: all of them share its partitions.",
        epilog="Exit codes: 0 stopped, 1 failed, 2 wrong usage or setting.",
    )
    add_settings(parser)
    parser.add_argument("--number", type=int, default=1, help="of this worker; default: 1")
    options = vars(parser.parse_args())
    number = options.pop("number")
    # SIGTERM before there is anything to stop.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = ShopSettings.from_environment(**options)
        set_up_logging(requests=settings.request_log == "stdout")
        _run(settings, number)
    except SettingError as error:
        print(f"stream: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 1


def _run(settings: ShopSettings, number: int) -> None:
    for name in ("journal_url", "jwt_secret"):
        if getattr(settings, name) in ("", "none"):
            raise SettingError(f"SHOP_{name.upper()} is not set: a worker needs it")
    try:
        from sagas.insight.stream import Insight, StreamSettings
        from sagas.insight.topics import wait_for_topic
        from sagas.insight.worker import add_views, run_worker
    except ImportError as error:
        raise SettingError(
            f"the stream's workers need Faust ({error}): pip install 'saga-shop[stream]'"
        ) from error
    address = kafka_address(settings.journal_url)
    folder = settings.data_dir / f"insight-{number}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"SHOP_DATA_DIR: {folder} cannot be made: {error.strerror}") from error
    stream = StreamSettings(
        address.brokers,
        address.topic,
        address.partitions,
        group=f"{address.topic}-insight",
        copies=address.copies,
        host=settings.host,
        port=settings.port_base + WORKER_PORT + number - 1,
        data_dir=str(folder),
    )
    asyncio.run(wait_for_topic(address, SystemClock()))
    plan = plan_of(choreography, cause_wait_s=settings.cause_wait_s, read_facts=business.read)
    insight = Insight(stream, choreography, plan, business)
    add_views(insight, Tokens(settings.jwt_secret, SystemClock()), choreography.operator)
    print(f"stream: http://{stream.host}:{stream.port}", flush=True)
    run_worker(insight)


if __name__ == "__main__":
    sys.exit(main())
