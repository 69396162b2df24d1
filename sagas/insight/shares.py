"""The sums of a stream's workers, asked and merged: the source behind the routes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from sagas.insight.sums import Sums, merged
from sagas.ports import Clock
from sagas.web.auth import Principal, Tokens
from sagas.web.problems import Problem

__all__ = ["SHARE", "Shares"]

#: Where a worker tells its share of the sums.
SHARE: Final = "/api/insight/share"
ASK_S: Final = 3.0
#: While partitions move from one worker to another, what was known a moment ago is told.
STALE_S: Final = 60.0
TOKEN_S: Final = 600.0


class Shares:
    """Asks every worker at ``urls``. Together they must answer for every partition."""

    def __init__(self, urls: Sequence[str], tokens: Tokens, operator: str, clock: Clock) -> None:
        self._urls = urls
        self._tokens = tokens
        self._operator = operator
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[float, str] | None = None
        self._known: tuple[float, Sums] | None = None

    async def sums(self) -> Sums:
        """Of all partitions. Raises 503 when some are with nobody for more than a moment."""
        answers = await asyncio.gather(*(self._ask(url) for url in self._urls))
        found = [each for each in answers if each is not None]
        # During a rebalance two may believe that a partition is theirs: the newer belief counts.
        parts: dict[str, Sums] = {}
        for share in sorted(found, key=lambda each: int(each["generation"])):
            parts.update(share["partitions"])
        now = self._clock.now()
        wanted = max((int(each["of"]) for each in found), default=1)
        if len(parts) == wanted:
            self._known = (now, merged(parts.values()))
        elif self._known is None or now - self._known[0] > STALE_S:
            raise Problem(
                503,
                "insight_recovering",
                f"{len(parts)} of {wanted} partitions of the stream are answered for; the others "
                "are being recovered: ask again in a moment.",
                headers={"Retry-After": "5"},
            )
        sums = dict(self._known[1])
        sums["as_of"] = self._known[0]
        sums["skipped"] = _added(each["skipped"] for each in found)
        sums["last_skipped"] = [each for share in found for each in share["last_skipped"]]
        return sums

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _ask(self, url: str) -> dict[str, Any] | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(ASK_S))
        headers = {"Authorization": f"Bearer {self._bearer()}"}
        try:
            async with self._session.get(url + SHARE, headers=headers) as response:
                if response.status != 200:
                    return None
                answer: dict[str, Any] = await response.json()
                return answer
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None  # its partitions go to another, or it starts again: then it is asked again

    def _bearer(self) -> str:
        now = self._clock.now()
        if self._token is None or now - self._token[0] > TOKEN_S:
            self._token = (now, self._tokens.issue(Principal("insight", self._operator)))
        return self._token[1]


def _added(counts: Any) -> dict[str, int]:
    whole: dict[str, int] = {}
    for each in counts:
        for name, count in each.items():
            whole[name] = whole.get(name, 0) + count
    return whole
