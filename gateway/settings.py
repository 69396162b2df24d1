"""The gateway's settings: environment variables, each also a flag.

A field's name in capitals behind ``SHOP_`` is its variable. Those of ``UpstreamLimits`` take one
value for all upstreams, and others for single ones: ``SHOP_READ_TIMEOUT_S=10,order=30``.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any

from gateway.values import (
    NETWORKS,
    ORIGINS,
    SECONDS,
    TEXT,
    URLS,
    Form,
    Network,
    one_of,
    secret,
    secrets,
    whole,
)

__all__ = [
    "SERVICE_PORTS",
    "GatewaySettings",
    "Setting",
    "UpstreamLimits",
    "all_settings",
    "load_settings",
]

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
MAX_PORT = 65_535 - max(SERVICE_PORTS.values())
_SERVICES = tuple(SERVICE_PORTS)

_PERCENT = whole(0, 100)
_MILLISECONDS = whole(1, 60_000)
_MANY = whole(1, 1_000_000)
_BYTES = whole(1_024, 16 * 1024**2)


def _set(default: Any, form: Form, text: str) -> Any:
    return field(default=default, metadata={"form": form, "text": text})


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """What bounds the calls to one upstream."""

    upstream_timeout_s: float = _set(
        15.0, SECONDS, "seconds until a request is answered, all its attempts together"
    )
    connect_timeout_s: float = _set(2.0, SECONDS, "seconds to reach an instance")
    # Every service of ours answers within 10 s, be it that it does not know yet.
    read_timeout_s: float = _set(12.0, SECONDS, "seconds that an instance may stay silent")
    retry_attempts: int = _set(3, whole(1, 10), "calls made for one request; 1 is no retry")
    retry_backoff_ms: int = _set(
        50, _MILLISECONDS, "milliseconds, at random up to which the first retry waits; then twice"
    )
    retry_backoff_max_ms: int = _set(
        1_000, _MILLISECONDS, "milliseconds that no retry's wait exceeds"
    )
    retry_window_s: float = _set(10.0, SECONDS, "seconds over which calls and retries are counted")
    # The window slides, and its calls vary: a little less keeps every half minute under a fifth.
    retry_budget_percent: int = _set(
        18, _PERCENT, "retries in this time, in percent of the calls in the same time"
    )
    retry_floor: int = _set(
        3, whole(0, 1_000), "retries in this time that are always allowed, however few call"
    )
    bulkhead_calls: int = _set(256, _MANY, "calls at the same time")
    bulkhead_queue: int = _set(256, whole(0, 1_000_000), "requests that wait for their turn")
    bulkhead_wait_ms: int = _set(500, _MILLISECONDS, "milliseconds that they wait at most")
    long_calls: int = _set(1_000, _MANY, "`Prefer: wait` and event streams at the same time")
    long_calls_each: int = _set(250, _MANY, "of these, how many for one client")
    long_calls_address: int = _set(
        500, _MANY, "of these, how many from one address, whatever clients are there"
    )
    stream_silence_s: float = _set(
        40.0, SECONDS, "seconds that an event stream may be silent; services send a heartbeat"
    )
    stream_limit_s: float = _set(3_600.0, SECONDS, "seconds that an event stream lasts at most")
    breaker_window_s: float = _set(10.0, SECONDS, "seconds over which failures are counted")
    breaker_min_calls: int = _set(20, _MANY, "calls in this time before failures open the breaker")
    breaker_failure_percent: int = _set(
        50, whole(1, 100), "failed calls, in percent, that open the breaker"
    )
    breaker_open_s: float = _set(5.0, SECONDS, "seconds that it is open before one call probes")
    upstream_rate_per_s: int = _set(2_000, _MANY, "requests a second, of all clients together")
    upstream_burst: int = _set(4_000, _MANY, "requests at once, of all clients together")


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """``upstreams``: the base addresses of each service's instances, without a final slash.

    An upstream that is not named in ``limits`` has the defaults.
    """

    jwt_secret: str = field(
        metadata={"form": secret(32), "text": "secret that access tokens are signed with"}
    )
    jwt_other_secrets: tuple[str, ...] = _set(
        (), secrets(32), "what else access tokens may be signed with, comma separated"
    )
    host: str = _set("127.0.0.1", TEXT, "address to listen on")
    port_base: int = _set(3_000, whole(1, MAX_PORT), "port to listen on; the services follow it")
    upstreams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, UpstreamLimits] = field(default_factory=dict)
    customer_rate_per_s: int = _set(200, _MANY, "requests a second, of a customer or staff")
    customer_burst: int = _set(400, _MANY, "requests at once, of a customer or staff")
    anonymous_rate_per_s: int = _set(50, _MANY, "requests a second, of an anonymous address")
    anonymous_burst: int = _set(100, _MANY, "requests at once, of an anonymous address")
    # Three quarters of what an upstream allows: with any number of accounts, nobody takes it all.
    address_rate_per_s: int = _set(
        1_500, _MANY, "requests a second, of all customers and staff of one address together"
    )
    address_burst: int = _set(
        3_000, _MANY, "requests at once, of all customers and staff of one address together"
    )
    address_sign_ins_per_min: int = _set(60, _MANY, "failed sign-ins a minute from one address")
    address_passwords_per_min: int = _set(
        1_200, _MANY, "sign-ins and registrations a minute from one address, good ones included"
    )
    limited_clients: int = _set(
        10_000, _MANY, "customers, and as many addresses, that the rate limiter remembers"
    )
    trusted_proxies: tuple[Network, ...] = _set(
        (), NETWORKS, "proxies whose X-Forwarded-For is believed, comma separated; unless set, none"
    )
    cors_origins: tuple[str, ...] = _set(
        (),
        ORIGINS,
        "origins whose pages may call from a browser, comma separated; unless set, none",
    )
    stale_for_s: float = _set(
        300.0, SECONDS, "seconds up to which a product is old that is shown while its service fails"
    )
    stale_cache_bytes: int = _set(
        8 * 1024**2, whole(0, 1024**3), "bytes of memory for such products; 0: none is shown"
    )
    buffered_bytes: int = _set(
        1024**2, _BYTES, "bytes up to which an answer is read whole before it is passed on"
    )
    body_limit_bytes: int = _set(64 * 1024, _BYTES, "bytes of the largest request body")
    header_count: int = _set(100, whole(10, 1_000), "headers of a request")
    header_limit_bytes: int = _set(32 * 1024, _BYTES, "bytes of all headers of a request together")
    arrival_s: float = _set(
        9.0, SECONDS, "seconds within which a request's headers and body must arrive"
    )
    reader_timeout_s: float = _set(
        30.0, SECONDS, "seconds that a reader may take nothing of an answer"
    )
    keepalive_s: float = _set(75.0, SECONDS, "seconds that an idle connection stays open")
    connections: int = _set(8_192, _MANY, "connections open at the same time")
    connections_each: int = _set(
        1_024, _MANY, "of these, how many from one address; trusted proxies any number"
    )
    unsent_each_bytes: int = _set(
        64 * 1024**2,
        whole(0, 16 * 1024**3),
        "bytes of answers that wait for the readers of one address; trusted proxies any; 0: any",
    )
    ready_timeout_s: float = _set(
        2.0, SECONDS, "seconds that a service has to tell whether it is ready"
    )
    seed: str = _set(
        "none", one_of("none", "demo"), "demo: the web page tells the demo's public logins"
    )

    request_log: str = _set(
        "stdout", one_of("stdout", "none"), "stdout or none: where each request has its line"
    )

    def limits_of(self, upstream: str) -> UpstreamLimits:
        """What bounds the calls to this upstream."""
        return self.limits.get(upstream) or UpstreamLimits()


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as its reader sees it."""

    name: str
    default: str
    text: str
    form: Form
    is_per_upstream: bool = False

    @property
    def variable(self) -> str:
        return f"SHOP_{self.name.upper()}"

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


def all_settings() -> Iterator[Setting]:
    """Every setting, in the order in which they are shown."""
    for each in fields(GatewaySettings):
        if each.name == "upstreams":
            yield from (
                Setting(f"{service}_urls", "", _urls_text(port), URLS)
                for service, port in SERVICE_PORTS.items()
            )
        elif each.name == "limits":
            yield from (_of_field(one, True) for one in fields(UpstreamLimits))
        else:
            yield _of_field(each)


def _urls_text(port: int) -> str:
    return f"where this service is, comma separated; unless set, at the port base + {port}"


def _of_field(each: Field[Any], is_per_upstream: bool = False) -> Setting:
    default = each.default if isinstance(each.default, str | int | float) else ""
    shown = f"{default:g}" if isinstance(default, float) else str(default)
    form, text = each.metadata["form"], each.metadata["text"]
    return Setting(each.name, shown, text, form, is_per_upstream)


def load_settings(environment: Mapping[str, str], arguments: Sequence[str] = ()) -> GatewaySettings:
    """The settings: a flag before its variable before the default. Raises ``SettingError``."""
    flags = vars(_parser().parse_args(arguments))
    plain: dict[str, Any] = {}
    of: dict[str, dict[str, Any]] = {service: {} for service in _SERVICES}
    for setting in all_settings():
        raw = flags[setting.name]
        if raw is None:
            raw = environment.get(setting.variable)
        if raw is None and not setting.form.is_required:
            continue  # the field's own default
        if setting.is_per_upstream:
            values = setting.form.read_each(setting.variable, raw or "", _SERVICES)
            for service in _SERVICES:
                if (value := values.get(service, values.get(""))) is not None:
                    of[service][setting.name] = value
        else:
            plain[setting.name] = setting.form.read(setting.variable, raw or "")
    addresses = {service: plain.pop(f"{service}_urls", ()) for service in _SERVICES}
    found = GatewaySettings(
        limits={service: UpstreamLimits(**values) for service, values in of.items()},
        **plain,
    )
    return _with_addresses(found, addresses)


def _with_addresses(
    settings: GatewaySettings, addresses: Mapping[str, tuple[str, ...]]
) -> GatewaySettings:
    """Where nobody said where a service is, it is beside the gateway."""
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host
    host = f"[{host}]" if ":" in host else host
    found = {
        service: given or (f"http://{host}:{settings.port_base + SERVICE_PORTS[service]}",)
        for service, given in addresses.items()
    }
    return replace(settings, upstreams=found)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m gateway",
        description="The shop's edge: one port in front of every service.",
        epilog="Each flag may also be given as the environment variable in brackets.",
    )
    each = parser.add_argument_group(
        "of each upstream", "one value for all; single ones may have another: 10,order=30"
    )
    for setting in all_settings():
        default = "required" if setting.form.is_required else setting.default
        shown = f"; default: {default}" if default else ""
        (each if setting.is_per_upstream else parser).add_argument(
            setting.flag,
            dest=setting.name,
            metavar="VALUE",
            help=f"{setting.text} [{setting.variable}]{shown}".replace("%", "%%"),
        )
    return parser
