"""The gateway's settings: environment variables, each also a flag."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from yarl import URL

from sagas.errors import SettingError

__all__ = ["SERVICE_PORTS", "GatewaySettings", "load_settings"]

#: Where each service listens, counted from the gateway's own port.
SERVICE_PORTS = {
    "product": 1,
    "order": 2,
    "customer": 3,
    "payment": 4,
    "inventory": 5,
    "shipping": 6,
    "tracker": 7,
}
MIN_SECRET = 32
MAX_PORT = 65_535 - max(SERVICE_PORTS.values())


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``upstreams``: the base addresses of each service's instances, without a final slash."""

    jwt_secret: str
    host: str
    port: int
    upstreams: Mapping[str, tuple[str, ...]]
    upstream_timeout_s: float = 10.0
    connect_timeout_s: float = 2.0
    body_limit_bytes: int = 64 * 1024
    arrival_s: float = 10.0
    keepalive_s: float = 75.0
    max_streams: int = 1_000


@dataclass(frozen=True, slots=True)
class _Setting:
    name: str
    default: str
    text: str
    allowed: str
    #: Raises ``ValueError`` for what is not allowed.
    parse: Callable[[str], Any]
    secret: bool = False

    @property
    def flag(self) -> str:
        return "--" + self.name.removeprefix("SHOP_").lower().replace("_", "-")

    def read(self, raw: str) -> Any:
        try:
            return self.parse(raw)
        except ValueError:
            shown = repr(raw)
            if self.secret:
                shown = f"a text of {len(raw)} characters" if raw else "not set"
            raise SettingError(f"{self.name} is {shown}; allowed is {self.allowed}") from None


def load_settings(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> GatewaySettings:
    """The settings: a flag before its variable before the default. Raises ``SettingError``."""
    flags = _parser().parse_args(arguments)

    def value(setting: _Setting) -> Any:
        flag = getattr(flags, setting.name)
        return setting.read(
            environment.get(setting.name, setting.default) if flag is None else flag
        )

    host, port = value(_HOST), value(_PORT)
    local = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
    upstreams = {
        service: value(setting) or (f"http://{_in_url(local)}:{port + SERVICE_PORTS[service]}",)
        for service, setting in _URLS.items()
    }
    return GatewaySettings(
        jwt_secret=value(_SECRET),
        host=host,
        port=port,
        upstreams=upstreams,
        upstream_timeout_s=value(_UPSTREAM_TIMEOUT),
        connect_timeout_s=value(_CONNECT_TIMEOUT),
        body_limit_bytes=value(_BODY_LIMIT),
        arrival_s=value(_ARRIVAL),
        keepalive_s=value(_KEEPALIVE),
        max_streams=value(_STREAMS),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The shop's edge: one port in front of every service.",
        epilog="Each flag may also be given as the environment variable in brackets.",
    )
    for setting in _ALL:
        default = "required" if setting.default == "" and setting.secret else setting.default
        shown = f"; default: {default}" if default else ""
        parser.add_argument(
            setting.flag,
            dest=setting.name,
            metavar="VALUE",
            help=f"{setting.text} [{setting.name}]{shown}".replace("%", "%%"),
        )
    return parser


# ------------------------------------------------------------------------------------- parsing


def _text(raw: str) -> str:
    if not raw.strip() or raw != raw.strip():
        raise ValueError
    return raw


def _long(raw: str) -> str:
    if len(raw) < MIN_SECRET:
        raise ValueError
    return raw


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(raw: str) -> int:
        number = int(raw)
        if not low <= number <= high or not raw.isascii():
            raise ValueError
        return number

    return parse


def _seconds(raw: str) -> float:
    number = float(raw)
    if not math.isfinite(number) or not 0 < number <= 3_600:
        raise ValueError
    return number


def _urls(raw: str) -> tuple[str, ...]:
    return tuple(_url(part.strip()) for part in raw.split(",")) if raw else ()


def _url(raw: str) -> str:
    url = URL(raw)
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string:
        raise ValueError
    return raw.rstrip("/")


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


_SECONDS = "a number of seconds above 0 and at most 3600"

_SECRET = _Setting(
    "SHOP_JWT_SECRET",
    "",
    "secret that access tokens are signed with",
    f"at least {MIN_SECRET} characters",
    _long,
    secret=True,
)
_HOST = _Setting("SHOP_HOST", "127.0.0.1", "address to listen on", "a host name or address", _text)
_PORT = _Setting(
    "SHOP_PORT_BASE",
    "3000",
    "port to listen on; the services follow it",
    f"a port from 1 to {MAX_PORT}",
    _whole(1, MAX_PORT),
)
_UPSTREAM_TIMEOUT = _Setting(
    "SHOP_UPSTREAM_TIMEOUT_S",
    "10",
    "seconds that a service may take to answer",
    _SECONDS,
    _seconds,
)
_CONNECT_TIMEOUT = _Setting(
    "SHOP_CONNECT_TIMEOUT_S", "2", "seconds to reach a service", _SECONDS, _seconds
)
_ARRIVAL = _Setting(
    "SHOP_ARRIVAL_S",
    "10",
    "seconds within which a request's headers and body must arrive",
    _SECONDS,
    _seconds,
)
_KEEPALIVE = _Setting(
    "SHOP_KEEPALIVE_S", "75", "seconds that an idle connection stays open", _SECONDS, _seconds
)
_BODY_LIMIT = _Setting(
    "SHOP_BODY_LIMIT_BYTES",
    "65536",
    "largest request body in bytes",
    "a whole number from 1024 to 16777216",
    _whole(1_024, 16 * 1_024 * 1_024),
)
_STREAMS = _Setting(
    "SHOP_MAX_STREAMS",
    "1000",
    "event streams open at the same time",
    "a whole number from 1 to 100000",
    _whole(1, 100_000),
)
_URLS = {
    service: _Setting(
        f"SHOP_{service.upper()}_URLS",
        "",
        f"where the {service} service is, comma separated; default: port base + {offset}",
        "http or https addresses, comma separated",
        _urls,
    )
    for service, offset in SERVICE_PORTS.items()
}
_ALL = (
    _SECRET,
    _HOST,
    _PORT,
    *_URLS.values(),
    _UPSTREAM_TIMEOUT,
    _CONNECT_TIMEOUT,
    _ARRIVAL,
    _KEEPALIVE,
    _BODY_LIMIT,
    _STREAMS,
)
