"""The gateway's settings: each limit has a name, a default, and one clear complaint."""

from __future__ import annotations

import contextlib
import io
import ipaddress
import re
from dataclasses import fields

import pytest

from gateway.settings import (
    SERVICE_PORTS,
    GatewaySettings,
    UpstreamLimits,
    all_settings,
    load_settings,
)
from sagas.errors import SettingError
from tests.gateway.conftest import SECRET

REQUIRED = {"SHOP_JWT_SECRET": SECRET}


def test_services_follow_the_port_and_flags_win():
    environment = {"SHOP_JWT_SECRET": SECRET, "SHOP_PORT_BASE": "4000"}
    settings = load_settings(environment)
    assert settings.port_base == 4_000
    assert settings.upstreams["tracker"] == ("http://127.0.0.1:4007",)
    environment["SHOP_ORDER_URLS"] = "http://a:1/, https://b:2"
    settings = load_settings(environment, ["--port-base", "5000", "--host", "0.0.0.0"])
    assert settings.port_base == 5_000
    assert settings.upstreams["order"] == ("http://a:1", "https://b:2")
    assert settings.upstreams["product"] == ("http://127.0.0.1:5001",)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOP_PORT_BASE", "0"),
        ("SHOP_PORT_BASE", "65535"),
        ("SHOP_PORT_BASE", "x"),
        ("SHOP_UPSTREAM_TIMEOUT_S", "nan"),
        ("SHOP_UPSTREAM_TIMEOUT_S", "-1"),
        ("SHOP_ORDER_URLS", "localhost:3002"),
        ("SHOP_ORDER_URLS", "http://a,,http://b"),
        ("SHOP_ORDER_URLS", "http://user:pw@a"),
        ("SHOP_BODY_LIMIT_BYTES", "1"),
        ("SHOP_HOST", ""),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(name, value):
    with pytest.raises(SettingError) as wrong:
        load_settings({"SHOP_JWT_SECRET": SECRET, name: value})
    said = str(wrong.value)
    assert said.startswith(f"{name} is {value!r}; allowed is ")
    assert "\n" not in said


def test_a_wrong_secret_is_not_repeated():
    with pytest.raises(SettingError, match="at least 32") as wrong:
        load_settings({"SHOP_JWT_SECRET": "hunter2"})
    assert "hunter2" not in str(wrong.value)
    with pytest.raises(SettingError, match="not set"):
        load_settings({})


def test_without_a_word_every_limit_has_its_default():
    settings = load_settings(REQUIRED)
    assert settings == GatewaySettings(
        jwt_secret=SECRET,
        upstreams=settings.upstreams,
        limits=dict.fromkeys(SERVICE_PORTS, UpstreamLimits()),
    )
    assert (settings.customer_rate_per_s, settings.customer_burst) == (200, 400)
    assert (settings.anonymous_rate_per_s, settings.anonymous_burst) == (50, 100)


def test_one_upstream_may_have_another_limit():
    settings = load_settings(
        {**REQUIRED, "SHOP_READ_TIMEOUT_S": "7, order=30", "SHOP_BREAKER_OPEN_S": "order=1"},
        ["--bulkhead-calls", "product=5,order=6,9"],
    )
    limits = settings.limits
    assert [limits[name].read_timeout_s for name in ("order", "product")] == [30.0, 7.0]
    assert [limits[name].breaker_open_s for name in ("order", "product")] == [1.0, 5.0]
    assert [limits[name].bulkhead_calls for name in ("order", "product", "tracker")] == [6, 5, 9]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SHOP_READ_TIMEOUT_S", "soon"),
        ("SHOP_READ_TIMEOUT_S", "7,ordr=30"),
        ("SHOP_READ_TIMEOUT_S", "7,order="),
        ("SHOP_READ_TIMEOUT_S", "7,8"),
        ("SHOP_READ_TIMEOUT_S", "=7"),
        ("SHOP_READ_TIMEOUT_S", ""),
        ("SHOP_BULKHEAD_CALLS", "0"),
        ("SHOP_BULKHEAD_CALLS", "1.5"),
        ("SHOP_RETRY_BUDGET_PERCENT", "101"),
        ("SHOP_BREAKER_FAILURE_PERCENT", "0"),
        ("SHOP_CUSTOMER_RATE_PER_S", "-1"),
        ("SHOP_CUSTOMER_BURST", "7,order=3"),
        ("SHOP_TRUSTED_PROXIES", "10.0.0.1/8"),
        ("SHOP_TRUSTED_PROXIES", "proxy.example"),
        ("SHOP_STALE_CACHE_BYTES", "²"),
        ("SHOP_CORS_ORIGINS", "*"),
        ("SHOP_CORS_ORIGINS", "shop.example"),
        ("SHOP_CORS_ORIGINS", "https://shop.example/"),
        ("SHOP_CORS_ORIGINS", "https://shop.example/page"),
        ("SHOP_CORS_ORIGINS", "https://SHOP.example"),
        ("SHOP_CORS_ORIGINS", "https://a.example,,https://b.example"),
        ("SHOP_HEADER_COUNT", "1"),
        ("SHOP_CONNECTIONS_EACH", "0"),
        ("SHOP_ADDRESS_SIGN_INS_PER_MIN", "0"),
    ],
)
def test_a_wrong_limit_is_named_with_its_value_and_what_is_allowed(name, value):
    with pytest.raises(SettingError) as wrong:
        load_settings({**REQUIRED, name: value})
    said = str(wrong.value)
    assert said.startswith(f"{name} is {value!r}; allowed is ")
    assert "\n" not in said


def test_origins_and_other_secrets_are_lists():
    environment = {
        **REQUIRED,
        "SHOP_CORS_ORIGINS": "https://shop.example, http://localhost:8080",
        "SHOP_JWT_OTHER_SECRETS": f"{'a' * 32},{'b' * 32}",
    }
    settings = load_settings(environment)
    assert settings.cors_origins == ("https://shop.example", "http://localhost:8080")
    assert settings.jwt_other_secrets == ("a" * 32, "b" * 32)
    environment["SHOP_JWT_OTHER_SECRETS"] = "hunter2"
    with pytest.raises(SettingError, match="SHOP_JWT_OTHER_SECRETS") as wrong:
        load_settings(environment)
    assert "hunter2" not in str(wrong.value)


def test_trusted_proxies_are_addresses_or_networks():
    settings = load_settings({**REQUIRED, "SHOP_TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.1,fd00::/8"})
    assert settings.trusted_proxies == (
        ipaddress.ip_network("10.0.0.0/8"),
        ipaddress.ip_network("192.0.2.1/32"),
        ipaddress.ip_network("fd00::/8"),
    )


def test_help_lists_every_setting_with_its_default():
    shown = io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(shown):
        load_settings({}, ["--help"])
    assert ended.value.code == 0
    text = re.sub(r"\s+", " ", shown.getvalue())
    names = {each.name for each in (*fields(GatewaySettings), *fields(UpstreamLimits))}
    assert names - {"upstreams", "limits"} <= {each.name for each in all_settings()}
    for each in all_settings():
        assert each.flag in text
        assert f"[{each.variable}]" in text
        if each.default:
            assert f"[{each.variable}]; default: {each.default}" in text
