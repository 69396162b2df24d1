"""The stream's topic: made before anybody asks for it, since a server would make one of its own."""

from __future__ import annotations

import logging
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError
from aiokafka.partitioner import DefaultPartitioner

from sagas.errors import SettingError
from sagas.insight.address import KafkaAddress
from sagas.ports import Clock

__all__ = ["make_topic", "partition_of", "wait_for_topic"]

log = logging.getLogger(__name__)

PAUSE_S: Final = 1.0


def partition_of(key: bytes, partitions: int) -> int:
    """Where a record with this key belongs: as Kafka's own clients place it, by murmur2."""
    places = range(partitions)
    return int(DefaultPartitioner()(key, places, places))


async def make_topic(address: KafkaAddress) -> None:
    """Make it unless it is there. Raises ``SettingError`` when it has other partitions.

    ``KafkaError`` and ``OSError`` while the server is out of reach.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=address.brokers, client_id="sagas")
    try:
        await admin.start()
        try:
            topic = NewTopic(address.topic, address.partitions, address.copies)
            await admin.create_topics([topic])
        except TopicAlreadyExistsError:
            (told,) = await admin.describe_topics([address.topic])
            found = len(told["partitions"])
            if found != address.partitions:
                raise SettingError(
                    f"topic {address.topic!r} has {found} partitions, not {address.partitions}: "
                    f"name another one, or say ?partitions={found}"
                ) from None
    finally:
        await admin.close()


async def wait_for_topic(address: KafkaAddress, clock: Clock) -> None:
    """``make_topic``, however long its server is away."""
    told = False
    while True:
        try:
            return await make_topic(address)
        except (KafkaError, OSError, TimeoutError) as error:
            if not told:
                log.warning("Kafka at %s is waited for: %s", address.brokers, error)
            told = True
            await clock.sleep(PAUSE_S)
