"""Where the event stream is, and how events get there. Imports no client: any process may ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from sagas.errors import SettingError

__all__ = ["JOURNAL", "JOURNAL_QUEUE", "KafkaAddress", "kafka_address"]

JOURNAL: Final = "journal"
#: Its queue, which hears everything: declared by whoever publishes, wherever there is a journal.
JOURNAL_QUEUE: Final = {JOURNAL: ("*",)}
DEFAULT_TOPIC: Final = "sagas"
DEFAULT_PARTITIONS: Final = 4
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,200}")
_HOSTS = re.compile(r"[^\s/@,:]+:[0-9]{1,5}(,[^\s/@,:]+:[0-9]{1,5})*")


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """``kafka://HOST:PORT[,HOST:PORT…]/TOPIC?partitions=4&copies=1``, taken apart."""

    brokers: str
    topic: str
    partitions: int
    #: Of each record, on as many servers.
    copies: int = 1


def kafka_address(url: str) -> KafkaAddress:
    """Take it apart. Raises ``SettingError``."""
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    partitions = asked.pop("partitions", [str(DEFAULT_PARTITIONS)])[-1]
    copies = asked.pop("copies", ["1"])[-1]
    topic = parts.path.strip("/") or DEFAULT_TOPIC
    sound = parts.scheme == "kafka" and _HOSTS.fullmatch(parts.netloc) and _TOPIC.fullmatch(topic)
    if not sound or asked:
        raise SettingError("use kafka://HOST:PORT/TOPIC?partitions=4")
    if not re.fullmatch("[0-9]{1,4}", partitions) or not 1 <= int(partitions) <= 1_000:
        raise SettingError("partitions is a number from 1 to 1000")
    if not re.fullmatch("[1-9]", copies):
        raise SettingError("copies is a number from 1 to 9: no more than there are servers")
    return KafkaAddress(parts.netloc, topic, int(partitions), int(copies))
