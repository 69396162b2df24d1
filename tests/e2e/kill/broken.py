"""``python -m tests.e2e.kill.broken FLAW …``: the shop with a flaw that its judge must find."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from participants.inventory.ledger import StoredLedger
from participants.payment.provider import Charged, Declined, SandboxProvider
from sagas.brokers.embedded import EmbeddedBroker
from sagas.envelope import Message
from shop.cli import main

__all__ = ["FLAWS"]


def drop_refunds() -> None:
    async def void(self: SandboxProvider, key: str) -> int | None:
        return None

    SandboxProvider.void = void  # type: ignore[method-assign]


def charge_twice() -> None:
    """Each try has a key of its own: what the provider did not answer, it does again."""
    usual, tries = SandboxProvider.charge, iter(range(1_000_000))

    async def charge(self: SandboxProvider, key: str, amount, token) -> Charged | Declined:
        return await usual(self, f"{key}-{next(tries)}", amount, token)

    SandboxProvider.charge = charge  # type: ignore[method-assign]


def keep_stock() -> None:
    async def release(self: StoredLedger, order_id: str, skus: Iterable[str]) -> None:
        return None

    StoredLedger.release = release  # type: ignore[method-assign]


def lose_an_event() -> None:
    """The first of its kind: it has left its outbox and reaches nobody."""
    usual, lost = EmbeddedBroker.publish, set[str]()

    async def publish(self: EmbeddedBroker, messages: Sequence[Message]) -> None:
        for message in messages:
            if message.type == "StockReserved" and not lost:
                lost.add(message.id)
        await usual(self, [message for message in messages if message.id not in lost])

    EmbeddedBroker.publish = publish  # type: ignore[method-assign]


FLAWS: dict[str, Callable[[], None]] = {
    "a refund is dropped": drop_refunds,
    "money is taken twice": charge_twice,
    "stock is not put back": keep_stock,
    "an event is lost": lose_an_event,
}

if __name__ == "__main__":
    FLAWS[sys.argv.pop(1)]()
    sys.exit(main())
