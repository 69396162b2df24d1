"""Where a worker keeps its tables."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from sagas.insight.address import KafkaAddress, kafka_address
from sagas.insight.application import StreamSettings, make_application

SETTINGS = StreamSettings("127.0.0.1:1,127.0.0.1:2", "sagas", 4)


def test_the_address_says_where_and_how_the_stream_is_kept() -> None:
    assert kafka_address("kafka://a:1,b:2/t?partitions=100&copies=3") == KafkaAddress(
        "a:1,b:2", "t", 100, 3
    )
    assert kafka_address("kafka://a:1") == KafkaAddress("a:1", "sagas", 4, 1)
    app = make_application(replace(SETTINGS, copies=3))
    assert app.conf.topic_replication_factor == 3


@pytest.mark.parametrize(("installed", "store"), [(True, "rocksdb"), (False, "memory")])
def test_tables_are_in_rocksdb_where_it_is_installed_and_in_memory_otherwise(
    monkeypatch: pytest.MonkeyPatch, installed: bool, store: str
) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, *rest: Any) -> Any:
        if name == "rocksdict":
            return object() if installed else None
        return real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    app = make_application(SETTINGS)
    assert app.conf.store.scheme == store
    assert [str(url) for url in app.conf.broker] == ["kafka://127.0.0.1:1", "kafka://127.0.0.1:2"]
