"""What a setting's text may be: how it is read, and the words that say what is allowed."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from yarl import URL

from sagas.errors import SettingError

__all__ = [
    "NETWORKS",
    "ORIGINS",
    "SECONDS",
    "TEXT",
    "URLS",
    "Form",
    "Network",
    "one_of",
    "secret",
    "secrets",
    "whole",
]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Form:
    """``parse`` raises ``ValueError`` for what is not ``allowed``."""

    parse: Callable[[str], Any]
    allowed: str
    is_secret: bool = False
    is_required: bool = False

    def read(self, name: str, raw: str) -> Any:
        """The value of the setting ``name``. Raises ``SettingError``, in one line."""
        try:
            return self.parse(raw)
        except ValueError:
            raise self.wrong(name, raw) from None

    def read_each(self, name: str, raw: str, upstreams: tuple[str, ...]) -> dict[str, Any]:
        """A value for all upstreams, for some of them another: ``10,order=30``. ``""`` is all."""
        found: dict[str, Any] = {}
        for part in raw.split(","):
            upstream, equals, value = part.strip().rpartition("=")
            known = upstream in upstreams if equals else not upstream
            try:
                if not known or upstream in found:
                    raise ValueError
                found[upstream] = self.parse(value)
            except ValueError:
                allowed = f"{self.allowed}, and for single upstreams NAME=VALUE, comma separated"
                raise Form(self.parse, allowed).wrong(name, raw) from None
        return found

    def wrong(self, name: str, raw: str) -> SettingError:
        """What to say of a value that is not allowed."""
        shown = repr(raw)
        if self.is_secret:
            shown = f"a text of {len(raw)} characters" if raw else "not set"
        return SettingError(f"{name} is {shown}; allowed is {self.allowed}")


def secret(length: int) -> Form:
    """A text that nobody repeats."""

    def parse(raw: str) -> str:
        if len(raw) < length:
            raise ValueError
        return raw

    return Form(parse, f"at least {length} characters", is_secret=True, is_required=True)


def secrets(length: int) -> Form:
    """Any number of such texts."""
    one = secret(length)

    def parse(raw: str) -> tuple[str, ...]:
        return tuple(one.parse(part) for part in raw.split(",")) if raw else ()

    allowed = f"texts of at least {length} characters, comma separated"
    return Form(parse, allowed, is_secret=True)


def whole(low: int, high: int) -> Form:
    """A whole number, both bounds included."""

    def parse(raw: str) -> int:
        if not raw.isascii() or not raw.isdigit() or not low <= int(raw) <= high:
            raise ValueError
        return int(raw)

    return Form(parse, f"a whole number from {low} to {high}")


def one_of(*words: str) -> Form:
    """Nothing but one of these words."""

    def parse(raw: str) -> str:
        if raw not in words:
            raise ValueError
        return raw

    return Form(parse, " or ".join(words))


def _text(raw: str) -> str:
    if not raw.strip() or raw != raw.strip():
        raise ValueError
    return raw


def _seconds(raw: str) -> float:
    number = float(raw)
    if not math.isfinite(number) or not 0 < number <= 86_400:
        raise ValueError
    return number


def _urls(raw: str) -> tuple[str, ...]:
    return tuple(_url(part.strip()) for part in raw.split(",")) if raw else ()


def _url(raw: str) -> str:
    url = URL(raw)
    if url.scheme not in ("http", "https") or not url.host or url.user or url.query_string:
        raise ValueError
    return raw.rstrip("/")


def _networks(raw: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(part.strip()) for part in raw.split(",")) if raw else ()


def _origins(raw: str) -> tuple[str, ...]:
    return tuple(_origin(part.strip()) for part in raw.split(",")) if raw else ()


def _origin(raw: str) -> str:
    if raw != str(URL(_url(raw)).origin()):
        raise ValueError
    return raw


TEXT = Form(_text, "a host name or address")
SECONDS = Form(_seconds, "a number of seconds above 0 and at most 86400")
URLS = Form(_urls, "http or https addresses, comma separated")
ORIGINS = Form(_origins, "origins such as https://shop.example, comma separated")
NETWORKS = Form(_networks, "addresses or networks such as 10.0.0.0/8, comma separated")
