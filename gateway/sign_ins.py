"""Limiting failed sign-ins from one address, whatever accounts they try.

The customer service limits them for each account; this stops whoever tries one password on many.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.calls import RateLimited, UpstreamResponse
from gateway.limits import Clients
from gateway.settings import GatewaySettings
from sagas.web.problems import Problem

__all__ = ["SIGN_IN", "SignIns"]

#: The one route that checks a password.
SIGN_IN = ("POST", "/api/sessions")


class SignIns:
    """A bucket for each address, as bounded in memory as the rate limiter's."""

    def __init__(self, settings: GatewaySettings) -> None:
        per_min = settings.address_sign_ins_per_min
        self._clients = Clients(per_min / 60, per_min, settings.limited_clients)

    async def run(
        self, address: str, attempt: Callable[[], Awaitable[UpstreamResponse]]
    ) -> UpstreamResponse:
        """The answer to the attempt; 429 without one when too many of this address have failed.

        Counted before it is known how the attempt ends, else all of a burst would pass; and given
        back when it was no wrong guess. Who goes away before the answer has guessed.
        """
        bucket = self._clients.bucket(address)
        if not await bucket.take():
            detail = "Too many failed sign-ins from this address; try again later."
            raise RateLimited(detail, bucket.wait_s, bucket.headers("sign-in"))
        try:
            answer = await attempt()
        except Problem:
            bucket.give_back()
            raise
        if answer.status != 401:
            bucket.give_back()
        return answer
