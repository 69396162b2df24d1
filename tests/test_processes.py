"""Which processes a shop on real servers is made of, and what cannot be run so."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.settings import load_settings
from participants.settings import ShopSettings
from sagas import SettingError
from shop.cli import main
from shop.processes import programs
from tests.e2e.kill.process import free_ports

SHARED = ShopSettings(
    data_dir=Path("kept"),
    store_url="mongodb://127.0.0.1:27017/shop",
    broker_url="amqp://guest:guest@127.0.0.1:5672/",
    port_base=4000,
    jwt_secret="a secret that all of them know, of 32 characters",
    carrier_secret="a secret of the carrier and of shipping",
    seed="demo",
)


def test_each_service_the_tracker_and_the_gateway_have_a_process() -> None:
    settings = replace(SHARED, store_url="sqlite:")
    made = programs(settings, 1, {"PATH": "/bin"})
    assert [each.name for each in made] == [
        *("gateway", "product", "order", "customer", "payment", "inventory", "shipping"),
        "tracker",
    ]
    for each in made:
        assert each.environment["PATH"] == "/bin"
        told = {**each.environment, "SHOP_BROKER_URL": "embedded:"}
        read = ShopSettings.from_environment(told)
        assert read == replace(settings, data_dir=Path("kept").resolve(), broker_url="embedded:")
        assert each.environment["SHOP_BROKER_URL"] == SHARED.broker_url


def test_with_a_journal_it_and_two_workers_have_one_too_unless_they_are_elsewhere() -> None:
    settings = replace(SHARED, journal_url="kafka://127.0.0.1:9092/sagas")
    made = {each.name: each for each in programs(settings, 1, {})}
    assert [
        name for name in made if name not in {each.name for each in programs(SHARED, 1, {})}
    ] == [*("journal", "stream-1", "stream-2")]
    assert settings.worker_urls == ["http://127.0.0.1:4090", "http://127.0.0.1:4091"]
    elsewhere = replace(settings, insight_urls="http://far:1,http://away:2")
    assert "stream-1" not in {each.name for each in programs(elsewhere, 1, {})}
    assert elsewhere.worker_urls == ["http://far:1", "http://away:2"]
    with pytest.raises(SettingError, match="no room for the stream's workers"):
        programs(replace(settings, port_base=65_500), 1, {})


def test_the_gateway_stops_before_what_stands_behind_it() -> None:
    stages = {each.name: each.stage for each in programs(SHARED, 1, {})}
    edge = stages.pop("gateway")
    assert edge < min(stages.values())


def test_the_gateway_knows_where_both_instances_of_a_service_are() -> None:
    made = {each.name: each for each in programs(SHARED, 2, {})}
    assert len(made) == 1 + 2 * 7
    bases = [made[name].environment["SHOP_PORT_BASE"] for name in ("order-1", "order-2")]
    assert bases == ["4000", "4008"]
    edge = load_settings(made["gateway"].environment)
    assert edge.upstreams["order"] == ("http://127.0.0.1:4002", "http://127.0.0.1:4010")
    assert edge.upstreams["tracker"] == ("http://127.0.0.1:4007", "http://127.0.0.1:4015")
    everywhere = [url for urls in edge.upstreams.values() for url in urls]
    assert len(set(everywhere)) == 14


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            replace(SHARED, store_url="sqlite:"),
            "2 instances of a service need a store that they share",
        ),
        (
            replace(SHARED, port_base=65_521),
            "leaves no room for 2 instances: choose at most 65520",
        ),
    ],
    ids=["a file of one's own", "ports"],
)
def test_what_two_instances_cannot_be_run_on_is_refused_with_what_to_do(
    settings: ShopSettings, said: str
) -> None:
    assert programs(settings, 1, {})
    with pytest.raises(SettingError, match=said):
        programs(settings, 2, {})


def test_a_port_that_is_taken_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = free_ports()
    flags = ["--broker-url", "rabbitmq", "--data-dir", str(tmp_path), "--port-base", str(base)]
    with socket.create_server(("127.0.0.1", base + 4)):
        assert main(["run", *flags]) == 1
    told = capsys.readouterr()
    assert f"cannot listen on 127.0.0.1:{base + 4}: address already in use" in told.err
    assert "SHOP_PORT_BASE" in told.err
    assert told.out == ""


def test_in_one_process_there_is_one_instance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--data-dir", str(tmp_path), "--instances", "2"]) == 2
    complaint = capsys.readouterr().err
    assert "2 instances need a broker that they share: choose --broker-url rabbitmq" in complaint
    assert complaint.count("\n") == 1
