"""The workers on the event stream, as processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields

from participants.settings import WORKER_PORT, WORKERS, ShopSettings
from sagas import SettingError
from shop.supervisor import Program

__all__ = ["as_environment", "stream_programs"]

#: They are stopped together with the services.
BEHIND = 1


def stream_programs(settings: ShopSettings, environment: Mapping[str, str]) -> list[Program]:
    """The workers on the event stream; none when the settings say that they are elsewhere."""
    if settings.insight_urls != "none":
        return []
    if settings.port_base + WORKER_PORT + WORKERS > 65_536:
        raise SettingError(
            f"SHOP_PORT_BASE={settings.port_base} leaves no room for the stream's workers: choose "
            f"at most {65_536 - WORKER_PORT - WORKERS}"
        )
    command = (sys.executable, "-m", "participants.stream", "--number")
    shared = {**environment, **as_environment(settings)}
    return [
        Program(f"stream-{number}", (*command, str(number)), shared, BEHIND)
        for number in range(1, WORKERS + 1)
    ]


def as_environment(settings: ShopSettings) -> dict[str, str]:
    """The settings as another process reads them."""
    values = {
        f"SHOP_{each.name.upper()}": getattr(settings, each.name) for each in fields(settings)
    }
    # A program's own folder may be another one some day.
    values["SHOP_DATA_DIR"] = settings.data_dir.resolve()
    return {name: str(value) for name, value in values.items()}
