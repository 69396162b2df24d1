"""The real servers that tests run against: where they are, and what happens without them.

Without a server its tests are skipped, with a word on how to get it. With ``REQUIRE_SERVICES=1``
(continuous integration) a missing server is a failure: nothing is skipped unnoticed.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

__all__ = ["AMQP_URL", "KAFKA_URL", "MONGODB_URL", "require"]

AMQP_URL = os.environ.get("SAGAS_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672/")
MONGODB_URL = os.environ.get("SAGAS_TEST_MONGODB_URL", "mongodb://127.0.0.1:27017/")
KAFKA_URL = os.environ.get("SAGAS_TEST_KAFKA_URL", "kafka://127.0.0.1:9092")

_PORTS = {"amqp": 5672, "amqps": 5671, "mongodb": 27017, "kafka": 9092}


def require(url: str) -> str:
    """The URL, if its server listens; else the test is skipped, or fails where servers must be."""
    parts = urlsplit(url)
    place = (parts.hostname or "127.0.0.1", parts.port or _PORTS[parts.scheme])
    try:
        socket.create_connection(place, timeout=2.0).close()
    except OSError as error:
        said = f"nothing listens at {place[0]}:{place[1]} ({error}): `make services` starts it"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(said, pytrace=False)
        pytest.skip(said)
    return url
