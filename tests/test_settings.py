"""A wrong setting stops the start with one line: its name, the value, and what is allowed."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from participants.settings import ShopSettings
from sagas import SettingError
from sagas.stores.mongodb import MongoStore
from sagas.system import allow_many_files
from sagas.wiring import open_backends


@pytest.mark.parametrize(
    ("variable", "value", "allowed"),
    [
        ("SHOP_PORT_BASE", "0", "whole number from 1"),
        ("SHOP_PORT_BASE", "65529", "to 65528"),
        ("SHOP_PORT_BASE", "3000.5", "whole number"),
        ("SHOP_PORT_BASE", "²", "whole number"),
        ("SHOP_HOST", "", "host name"),
        ("SHOP_HOST", "a b", "host name"),
        ("SHOP_DATA_DIR", "", "folder"),
        ("SHOP_CARRIER_STEP_S", "-1", "seconds"),
        ("SHOP_CARRIER_STEP_S", "soon", "seconds"),
        ("SHOP_CARRIER_STEP_S", "nan", "seconds"),
        ("SHOP_SAGA_DEADLINE_S", "0", "above 0"),
        ("SHOP_CAUSE_WAIT_S", "0", "above 0"),
        ("SHOP_CAUSE_WAIT_S", "later", "seconds"),
        ("SHOP_STORE_URL", "oracle://x", "sqlite:"),
        ("SHOP_JOURNAL_URL", "kafka://here", "kafka://HOST:PORT/TOPIC"),
        ("SHOP_JOURNAL_URL", "kafka://here:9092/a b", "kafka://HOST:PORT/TOPIC"),
        ("SHOP_JOURNAL_URL", "kafka://here:9092/t?partitions=0", "from 1 to 1000"),
        ("SHOP_JOURNAL_URL", "kafka://here:9092/t?copies=0", "from 1 to 9"),
        ("SHOP_INSIGHT_URLS", "here:3090", "http://HOST:PORT"),
        ("SHOP_BROKER_URL", "nats://x", "embedded:"),
        ("SHOP_JOURNAL_URL", "ftp://x", "none"),
        ("SHOP_SEED", "prod", "none or demo"),
        ("SHOP_ACCOUNT_SIGN_INS_PER_MIN", "0", "whole number from 1"),
        ("SHOP_ACCOUNT_SIGN_INS_PER_MIN", "many", "whole number"),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(
    variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingError) as error:
        ShopSettings.from_environment({variable: value})
    text = str(error.value)
    assert variable in text
    assert repr(value) in text
    assert allowed in text
    assert "\n" not in text


@pytest.mark.parametrize("variable", ["SHOP_JWT_SECRET", "SHOP_CARRIER_SECRET"])
def test_a_secret_that_is_too_short_is_not_shown(variable: str) -> None:
    with pytest.raises(SettingError) as error:
        ShopSettings.from_environment({variable: "hunter2"})
    assert variable in str(error.value)
    assert "hunter2" not in str(error.value)
    assert "32" in str(error.value)


def test_other_secrets_are_as_long_and_not_shown_either() -> None:
    good, short = "x" * 32, "hunter2"
    settings = ShopSettings.from_environment({"SHOP_JWT_OTHER_SECRETS": f"{good},{good}y"})
    assert settings.jwt_others == (good, f"{good}y")
    assert ShopSettings.from_environment({}).jwt_others == ()
    with pytest.raises(SettingError, match="SHOP_JWT_OTHER_SECRETS") as error:
        ShopSettings.from_environment({"SHOP_JWT_OTHER_SECRETS": f"{good},{short}"})
    assert short not in str(error.value)
    assert good not in str(error.value)


def test_a_process_may_open_as_many_files_as_it_is_let() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        assert allow_many_files() == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert allow_many_files() >= min(before[0], 32_768)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_flags_come_before_variables_before_defaults() -> None:
    environment = {"SHOP_PORT_BASE": "4000", "SHOP_CARRIER_STEP_S": "0.5"}
    settings = ShopSettings.from_environment(environment, port_base="5000")
    assert (settings.port_base, settings.carrier_step_s, settings.seed) == (5000, 0.5, "none")


async def test_a_data_file_belongs_to_one_process(tmp_path: Path) -> None:
    first = open_backends("sqlite:", "embedded:", tmp_path)
    with pytest.raises(SettingError, match="in use by another process"):
        open_backends("sqlite:", "embedded:", tmp_path)
    await first.close()
    await open_backends("sqlite:", "embedded:", tmp_path).close()


async def test_a_store_on_a_server_is_chosen_by_its_url_and_may_have_other_writers(
    tmp_path: Path,
) -> None:
    """Nothing is asked of the server before a store is opened."""
    backends = open_backends("mongodb://127.0.0.1:1/shop?driver=pymongo", "embedded:", tmp_path)
    assert isinstance(backends.store("payment"), MongoStore)
    assert not backends.alone
    await backends.close()


@pytest.mark.parametrize("missing", ["pymongo", "motor"])
def test_drivers_that_are_not_installed_are_named_with_what_to_do(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in ("pymongo", "motor") or name.startswith("sagas.stores.mongodb"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(
        SettingError, match=r"needs its drivers .*pip install 'saga-shop\[servers\]'"
    ):
        open_backends("mongodb://127.0.0.1:1/", "embedded:", tmp_path)


def test_a_password_in_a_wrong_url_is_not_shown(tmp_path: Path) -> None:
    for setting in ("SHOP_STORE_URL", "SHOP_BROKER_URL"):
        with pytest.raises(SettingError) as error:
            ShopSettings.from_environment({setting: "mysql://me:hunter2@host/"})
        assert "hunter2" not in str(error.value)
    with pytest.raises(SettingError) as error:
        open_backends("mysql://me:hunter2@host/", "embedded:", tmp_path)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("store", "broker"), [("mysql://x", "embedded:"), ("sqlite:", "zeromq://x")]
)
def test_an_unknown_back_end_says_which_there_are(store: str, broker: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"sqlite:|embedded:"):
        open_backends(store, broker, tmp_path)


async def test_without_its_client_a_broker_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sagas.brokers.rabbitmq", None)
    with pytest.raises(SettingError, match=r"pip install 'saga-shop\[servers\]'"):
        open_backends("sqlite:", "amqp://127.0.0.1/", tmp_path)


@pytest.mark.parametrize("url", ["nats://user:hunter2@host/", "amqp:host"])
def test_a_password_in_a_wrong_broker_url_is_not_shown(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as wiring:
        open_backends("sqlite:", url, tmp_path)
    with pytest.raises(SettingError) as setting:
        ShopSettings.from_environment({"SHOP_BROKER_URL": url})
    assert "hunter2" not in f"{wiring.value} {setting.value}"
