"""What docker/compose.yaml promises of every container, read off the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from participants.settings import JOURNAL_PORT, WORKER_PORT, WORKERS, ShopSettings
from sagas.insight.address import kafka_address

DOCKER = Path(__file__).parents[2] / "docker"
COMPOSE: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: each for name, each in SERVICES.items() if each["image"] == "saga-shop"}
SERVERS = SERVICES.keys() - OURS.keys()
#: What writes into the folder that is its own; the others keep nothing.
WORKING = {f"stream-{number}" for number in range(1, WORKERS + 1)}


def test_the_journal_and_the_workers_are_among_ours() -> None:
    assert {"journal", "tracker", "gateway", *WORKING} < OURS.keys()
    assert {"rabbitmq", "mongodb", "kafka"} == SERVERS


@pytest.mark.parametrize("name", OURS)
def test_ours_can_write_nowhere_and_do_nothing_that_they_need_not(name: str) -> None:
    container = OURS[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in container  # the image's own, which is not root
    assert bool(container.get("volumes")) == (name in WORKING)
    if name != "gateway":
        assert "ports" not in container


def test_the_image_runs_without_root_and_has_what_the_stream_needs() -> None:
    image = (DOCKER / "Dockerfile").read_text()
    assert "USER 10001:10001" in image
    assert '("servers", "stream", "rocksdb")' in image


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_asked_for_its_health_and_started_after_what_it_needs(name: str) -> None:
    container = SERVICES[name]
    assert container["healthcheck"]["test"]
    for needed, how in container.get("depends_on", {}).items():
        assert needed in SERVICES
        assert how == {"condition": "service_healthy"}
    if name in OURS:
        assert container["depends_on"]


def test_health_is_asked_for_where_each_listens() -> None:
    asked = {name: int(each["healthcheck"]["test"][-1]) for name, each in OURS.items()}
    base = ShopSettings().port_base
    assert asked["journal"] == base + JOURNAL_PORT
    assert asked["stream-1"] == base + WORKER_PORT
    assert asked["stream-2"] == base + WORKER_PORT + 1
    assert len(set(asked.values())) == len(asked)


def test_all_know_of_the_journal_and_the_tracker_of_every_worker() -> None:
    read = {
        name: ShopSettings.from_environment(_filled_in(each["environment"]))
        for name, each in OURS.items()
        if name not in ("gateway", *WORKING)
    }
    assert all(each.has_journal for each in read.values())
    assert read["tracker"].worker_urls == ["http://stream-1:3090", "http://stream-2:3091"]
    assert kafka_address(read["journal"].journal_url).brokers == "kafka:9092"
    for name in WORKING:
        assert OURS[name]["environment"]["SHOP_JOURNAL_URL"] == read["journal"].journal_url
        assert OURS[name]["depends_on"].keys() == {"kafka"}


def _filled_in(environment: dict[str, str]) -> dict[str, str]:
    """What must be given is; the rest has its default."""
    given = {name: re.sub(r"\${\w+:\?.*?}", "x" * 32, each) for name, each in environment.items()}
    return {name: re.sub(r"\${\w+:-(.*?)}", r"\1", each) for name, each in given.items()}


def test_whatever_keeps_something_has_a_volume_with_a_name() -> None:
    volumes = [each for container in SERVICES.values() for each in container.get("volumes", ())]
    assert sorted(each.split(":")[0] for each in volumes) == sorted(COMPOSE["volumes"])
    for name in SERVERS:
        assert len(SERVICES[name]["volumes"]) == 1
