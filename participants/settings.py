"""The shop's settings: environment variables, each also a flag of ``shop run``."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from sagas import SettingError
from sagas.insight.address import kafka_address

__all__ = ["JOURNAL_PORT", "WORKERS", "WORKER_PORT", "ShopSettings"]

#: Behind the port base: out of the way of a second and third instance of every service.
JOURNAL_PORT, WORKER_PORT = 89, 90
#: How many workers `shop run` starts on the stream.
WORKERS = 2


@dataclass(frozen=True, slots=True)
class ShopSettings:
    """What can be set. ``help`` in each field's metadata is the text of its flag."""

    data_dir: Path = field(
        default=Path("./data"), metadata={"help": "folder for everything that is kept"}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "address to listen on"})
    port_base: int = field(
        default=3000, metadata={"help": "port of the gateway; the services follow it (1 to 65528)"}
    )
    store_url: str = field(
        default="sqlite:",
        metadata={"help": "sqlite: (in the data folder) or mongodb://HOST:PORT/PREFIX"},
    )
    broker_url: str = field(
        default="embedded:",
        metadata={"help": "embedded: (in the process) or amqp://USER:PASSWORD@HOST:PORT/VHOST"},
    )
    journal_url: str = field(
        default="none",
        metadata={"help": "none, or kafka://HOST:PORT/TOPIC, where every event is forwarded"},
    )
    insight_urls: str = field(
        default="none",
        metadata={"help": "none, or where workers answer that this shop need not start"},
    )
    keep_sent_s: float = field(
        default=86_400.0,
        metadata={"help": "seconds for which sent events are kept for `sagas republish`; 0: not"},
    )
    carrier_step_s: float = field(
        default=2.0, metadata={"help": "seconds between a parcel's moves; 0 is at once"}
    )
    saga_deadline_s: float = field(
        default=900.0,
        metadata={"help": "seconds until an order that is not on its way is cancelled"},
    )
    cause_wait_s: float = field(
        default=60.0,
        metadata={"help": "seconds until an event whose cause has not come is reported"},
    )
    jwt_secret: str = field(
        default="", metadata={"help": "at least 32 characters; made and kept when absent"}
    )
    jwt_other_secrets: str = field(
        default="",
        metadata={"help": "what else access tokens may be signed with, comma separated"},
    )
    account_sign_ins_per_min: int = field(
        default=5, metadata={"help": "failed sign-ins a minute to one account"}
    )
    carrier_secret: str = field(
        default="", metadata={"help": "shared with the carrier, signs its reports"}
    )
    request_log: str = field(
        default="stdout", metadata={"help": "stdout or none: where each request has its line"}
    )
    seed: str = field(default="none", metadata={"help": "none or demo"})

    @property
    def has_journal(self) -> bool:
        """Whether events are forwarded to a stream."""
        return self.journal_url != "none"

    @property
    def worker_urls(self) -> list[str]:
        """Where the stream's workers answer."""
        if self.insight_urls != "none":
            return self.insight_urls.split(",")
        first = self.port_base + WORKER_PORT
        host = f"[{self.host}]" if ":" in self.host else self.host
        return [f"http://{host}:{port}" for port in range(first, first + WORKERS)]

    @property
    def jwt_others(self) -> tuple[str, ...]:
        """The secrets that only verify."""
        return tuple(self.jwt_other_secrets.split(",")) if self.jwt_other_secrets else ()

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, **overrides: str | None
    ) -> ShopSettings:
        """Read ``SHOP_…`` variables; ``overrides`` (flags) win. Raises ``SettingError``."""
        environment = os.environ if environment is None else environment
        values: dict[str, object] = {}
        for each in fields(cls):
            variable = f"SHOP_{each.name.upper()}"
            text = overrides.get(each.name)
            if text is None:
                text = environment.get(variable)
            if text is not None:
                text = _NAMES.get(each.name, {}).get(text, text)
                values[each.name] = _READERS[each.name](variable, text)
        return cls(**values)  # type: ignore[arg-type]


def _wrong(variable: str, text: str, allowed: str) -> SettingError:
    secret = variable.endswith(("_SECRET", "_SECRETS"))
    return SettingError(f"{variable}={'…' if secret else text!r} is not allowed: {allowed}")


def _path(variable: str, text: str) -> Path:
    if not text:
        raise _wrong(variable, text, "a folder")
    return Path(text)


def _host(variable: str, text: str) -> str:
    if not text or any(character.isspace() for character in text):
        raise _wrong(variable, text, "a host name or address")
    return text


def _port(variable: str, text: str) -> int:
    # 0 would give every service another port: nobody could find them.
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_528:
        raise _wrong(variable, text, "a whole number from 1 to 65528")
    return int(text)


def _seconds(variable: str, text: str, allowed: str = "a number of seconds, 0 or more") -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 10**9:
        raise _wrong(variable, text, allowed)
    return seconds


def _deadline(variable: str, text: str) -> float:
    allowed = "a number of seconds above 0"
    seconds = _seconds(variable, text, allowed)
    if seconds == 0:
        raise _wrong(variable, text, allowed)
    return seconds


def _secret(variable: str, text: str) -> str:
    if len(text) < 32:
        raise _wrong(variable, text, "at least 32 characters")
    return text


def _secrets(variable: str, text: str) -> str:
    if text and any(len(each) < 32 for each in text.split(",")):
        raise _wrong(variable, text, "texts of at least 32 characters, comma separated")
    return text


def _count(variable: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1_000:
        raise _wrong(variable, text, "a whole number from 1 to 1000")
    return int(text)


def _request_log(variable: str, text: str) -> str:
    if text not in ("stdout", "none"):
        raise _wrong(variable, text, "stdout or none")
    return text


def _seed(variable: str, text: str) -> str:
    if text not in ("none", "demo"):
        raise _wrong(variable, text, "none or demo")
    return text


def _store_url(variable: str, text: str) -> str:
    if text != "sqlite:" and not text.startswith(("mongodb://", "mongodb+srv://")):
        raise _wrong(variable, _without_password(text), "sqlite: or mongodb://HOST:PORT/PREFIX")
    return text


def _broker_url(variable: str, text: str) -> str:
    if text != "embedded:" and not text.startswith(("amqp://", "amqps://")):
        raise _wrong(variable, _without_password(text), "embedded: or amqp://…")
    return text


def _without_password(url: str) -> str:
    return re.sub("//[^/]*@", "//…@", url)


def _journal_url(variable: str, text: str) -> str:
    if text != "none":
        try:
            kafka_address(text)
        except SettingError as error:
            raise _wrong(variable, _without_password(text), f"none, or {error}") from None
    return text


def _urls(variable: str, text: str) -> str:
    if text == "none":
        return text
    for url in text.split(","):
        if not re.fullmatch(r"https?://[^\s/,]+", url):
            raise _wrong(variable, text, "none, or http://HOST:PORT, several separated by commas")
    return text


#: What may be said for short: the usual address on this machine.
_NAMES = {
    "store_url": {"sqlite": "sqlite:", "mongodb": "mongodb://127.0.0.1:27017/shop"},
    "broker_url": {
        "embedded": "embedded:",
        "rabbitmq": "amqp://guest:guest@127.0.0.1:5672/",
    },
    "journal_url": {"kafka": "kafka://127.0.0.1:9092/sagas"},
}

_READERS = {
    "data_dir": _path,
    "host": _host,
    "port_base": _port,
    "store_url": _store_url,
    "broker_url": _broker_url,
    "journal_url": _journal_url,
    "insight_urls": _urls,
    "keep_sent_s": _seconds,
    "carrier_step_s": _seconds,
    "saga_deadline_s": _deadline,
    "cause_wait_s": _deadline,
    "jwt_secret": _secret,
    "jwt_other_secrets": _secrets,
    "account_sign_ins_per_min": _count,
    "carrier_secret": _secret,
    "request_log": _request_log,
    "seed": _seed,
}
