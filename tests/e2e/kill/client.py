"""A client of the public API that outlives the shop: it asks again until it is answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

__all__ = ["CUSTOMER", "LATER", "STAFF", "Account", "Answer", "Client"]

#: More than anybody asks to wait for.
ANSWER_LIMIT_S = 60.0
AGAIN_AFTER_S = 0.1
PAGE = 100
#: Come back later: limited, no answer from a service, breaker open or not yet up, too slow.
LATER = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Account:
    email: str
    password: str


CUSTOMER = Account("customer@example.com", "customer-demo-password")
STAFF = Account("staff@example.com", "staff-demo-password")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: Any

    @property
    def code(self) -> str | None:
        """The problem's stable word."""
        return self.body.get("code") if self.status >= 400 else None


class Client:
    """Signed in as one account, for as long as it takes (tokens last an hour)."""

    def __init__(self, session: ClientSession, url: str, account: Account) -> None:
        self._session = session
        self._url = url
        self._account = account
        self._token = ""
        self._signing_in = asyncio.Lock()
        #: Requests that got no answer.
        self.lost = 0

    async def once(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One try, by a known caller. Raises ``ClientError`` or ``TimeoutError``: no answer."""
        headers = dict(headers or {})
        if key is not None:
            headers["Idempotency-Key"] = key
        if not self._token:
            await self._sign_in("")
        while True:
            token = self._token
            headers["Authorization"] = f"Bearer {token}"
            answer = await self._send(method, path, body, headers)
            if answer.status != 401:
                return answer
            await self._sign_in(token)

    async def insist(
        self, method: str, path: str, body: object = None, *, key: str | None = None
    ) -> Answer:
        """The same request until it is answered, through any number of the shop's lives."""
        while True:
            try:
                answer = await self.once(method, path, body, key=key)
            except (ClientError, TimeoutError):
                self.lost += 1
            else:
                if answer.status not in LATER and answer.code != "idempotency_in_progress":
                    return answer
            await asyncio.sleep(AGAIN_AFTER_S)

    async def stream(self, path: str) -> list[str]:
        """The types of the events of a stream, read to its end."""
        if not self._token:
            await self._sign_in("")
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream"}
        timeout = ClientTimeout(total=ANSWER_LIMIT_S)
        async with self._session.get(self._url + path, headers=headers, timeout=timeout) as answer:
            assert answer.status == 200, f"GET {path}: {answer.status}"
            lines = (await answer.text()).splitlines()
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]

    async def get(self, path: str) -> Any:
        """The resource, which must be there."""
        answer = await self.insist("GET", path)
        assert answer.status == 200, f"GET {path}: {answer.status} {answer.body}"
        return answer.body

    async def items(self, path: str) -> AsyncIterator[Any]:
        """Every item of a list, page by page."""
        cursor = ""
        while cursor is not None:
            page = await self.get(f"{path}?limit={PAGE}" + (f"&cursor={cursor}" if cursor else ""))
            for item in page["items"]:
                yield item
            cursor = page["next_cursor"]

    async def _send(
        self, method: str, path: str, body: object, headers: Mapping[str, str]
    ) -> Answer:
        timeout = ClientTimeout(total=ANSWER_LIMIT_S)
        async with self._session.request(
            method, self._url + path, json=body, headers=headers, timeout=timeout
        ) as answer:
            content = await answer.json(content_type=None)
            return Answer(answer.status, dict(answer.headers), content)

    async def _sign_in(self, stale: str) -> None:
        """Get a token, unless another request has replaced the stale one meanwhile."""
        async with self._signing_in:
            if self._token != stale:
                return
            body = {"email": self._account.email, "password": self._account.password}
            answer = await self._send("POST", "/api/sessions", body, {})
            if answer.status in LATER:
                raise ClientError("no sign-in at the moment")
            assert answer.status == 200, f"sign-in: {answer.status} {answer.body}"
            self._token = answer.body["access_token"]
