"""Claims on idempotency keys, as they are stored: who does the work, and what came of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson
from aiohttp import web

from sagas.errors import SagaError, StoreUnavailable
from sagas.ports import Clock, Collection, Ids, Outcome, Record, Store, Write
from sagas.web.problems import Problem, conflict, unprocessable

__all__ = ["COLLECTION", "Answer", "Claim", "Claims", "in_progress", "reused"]

COLLECTION: Final = Collection("idempotency")
KEEP_S = 24 * 3_600.0
FIRST_POLL_S = 0.02
LAST_POLL_S = 0.5

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a repeat gets."""

    status: int
    headers: dict[str, str]
    body: bytes

    def response(self) -> web.Response:
        """The same answer again."""
        headers = {**self.headers, "Idempotent-Replayed": "true"}
        return web.Response(status=self.status, body=self.body, headers=headers)


@dataclass(frozen=True, slots=True)
class Claim:
    """What stands under a key. ``version`` is the record's; 0: not stored yet.

    ``finished``: what was asked for is done. Its ``answer`` may be one that is not kept.
    """

    key: str
    fingerprint: str
    operation_id: str
    lease: float
    expires: float
    version: int = 0
    finished: bool = False
    answer: Answer | None = None


class Claims:
    """The claims of one service, whatever the number of its processes."""

    def __init__(
        self, store: Store, clock: Clock, ids: Ids, *, wait_s: float, lease_s: float
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._wait_s = wait_s
        self._lease_s = lease_s

    async def claim(self, key: str, fingerprints: Sequence[str]) -> Claim:
        """A claim that is ours, or one that somebody finished. A new key costs one commit.

        One of ``fingerprints`` must be the first request's; the first is stored with a new claim.
        """
        found: Claim | None = None
        waited, pause = 0.0, FIRST_POLL_S
        while True:
            now = self._clock.now()
            if found is None or found.expires <= now:
                version = 0 if found is None else found.version
                lease, expires = now + self._lease_s, now + KEEP_S
                mine = Claim(key, fingerprints[0], self._ids.new(), lease, expires, version)
            elif found.fingerprint not in fingerprints:
                raise reused()
            elif found.finished:
                return found
            elif found.lease <= now:  # Its holder died or gave up: go on with what it began.
                mine = replace(found, lease=now + self._lease_s)
            elif waited >= self._wait_s:
                raise in_progress()
            else:  # Another process holds it.
                await self._clock.sleep(pause)
                waited, pause = waited + pause, min(2 * pause, LAST_POLL_S)
                found = await self._load(key)
                continue
            if await self._put(mine):
                return replace(mine, version=mine.version + 1)
            found = await self._load(key)

    async def keep(self, finished: Claim) -> None:
        """Store that it is done, and the answer if it has one, for whoever repeats the request."""
        try:
            await self._put(finished)
        except SagaError as error:
            # What was asked for is done. A repeat will find the claim and do it "again".
            log.warning("an idempotent answer could not be kept: %s", error)

    async def let_go(self, claim: Claim, refused: bool) -> None:
        """Free the key (``refused``: nothing was done), or else only end the lease."""
        try:
            if refused:
                await self._store.commit([Write(COLLECTION.name, claim.key, claim.version, None)])
            else:
                await self._put(replace(claim, lease=0.0))
        except SagaError as error:
            log.warning("an idempotency claim waits for its lease to end: %s", error)

    async def _load(self, key: str) -> Claim | None:
        record = (await self._store.load(COLLECTION.name, [key])).get(key)
        return None if record is None else _decode(record)

    async def _put(self, claim: Claim) -> bool:
        write = Write(
            COLLECTION.name, claim.key, claim.version, _encode(claim), expires=claim.expires
        )
        try:
            outcomes = await self._store.commit([write])
        except StoreUnavailable:
            # Once more: where only the answer was lost, a store knows the same write again. Else
            # whoever repeats the request would wait for the lease to end.
            outcomes = await self._store.commit([write])
        return outcomes[0] is Outcome.DONE


def _encode(claim: Claim) -> bytes:
    """One line of JSON, then the answer's body as it is."""
    facts = [claim.fingerprint, claim.operation_id, claim.lease, claim.expires, claim.finished]
    answer = claim.answer
    if answer is None:
        return orjson.dumps(facts) + b"\n"
    return orjson.dumps([*facts, answer.status, answer.headers]) + b"\n" + answer.body


def _decode(record: Record) -> Claim:
    line, _, body = record.body.partition(b"\n")
    fingerprint, operation, lease, expires, finished, *answered = orjson.loads(line)
    answer = Answer(answered[0], answered[1], body) if answered else None
    version = record.version
    return Claim(record.key, fingerprint, operation, lease, expires, version, finished, answer)


def reused() -> Problem:
    """422: one key, two requests."""
    detail = "This Idempotency-Key came with another request before; use a new key."
    return unprocessable("idempotency_key_reused", detail)


def in_progress() -> Problem:
    """409: waited long enough for the first."""
    detail = "An equal request with this Idempotency-Key is still under way; repeat it later."
    return conflict("idempotency_in_progress", detail)
