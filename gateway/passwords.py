"""Limiting what makes the customer service hash passwords, for each address, whatever accounts.

Failed sign-ins it limits for each account by itself; here whoever tries one password on many is
stopped. And all sign-ins and registrations are limited: a hash costs as much as thousands of other
requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from gateway.calls import RateLimited, UpstreamResponse
from gateway.limits import Bucket, Clients
from gateway.settings import GatewaySettings
from sagas.web.problems import Problem

__all__ = ["HASHING", "PasswordLimits"]

Route = tuple[str, str]

SIGN_IN: Final = ("POST", "/api/sessions")
#: Every route that hashes a password.
HASHING: Final = frozenset({SIGN_IN, ("POST", "/api/customers")})
#: What it answers after it has hashed; 409 too: of many who ask for one e-mail at once all did.
_HASHED: Final = frozenset({200, 201, 401, 409})


class PasswordLimits:
    """Two buckets for each address, as bounded in memory as the rate limiter's."""

    def __init__(self, settings: GatewaySettings) -> None:
        most = settings.limited_clients
        failed, hashed = settings.address_sign_ins_per_min, settings.address_passwords_per_min
        self._failed = Clients(failed / 60, failed, most)
        self._hashed = Clients(hashed / 60, hashed, most)

    async def run(
        self, route: Route, address: str, attempt: Callable[[], Awaitable[UpstreamResponse]]
    ) -> UpstreamResponse:
        """The answer to the attempt; 429 without one when this address had too many.

        Counted before it is known how the attempt ends, else all of a burst would pass; and given
        back when it was no wrong guess, or nothing was hashed. Who goes away before the answer has
        guessed, and made work.
        """
        hashed = self._hashed.bucket(address)
        failed = self._failed.bucket(address) if route == SIGN_IN else None
        if failed is not None and not await failed.take():
            raise _limited("failed sign-ins", failed, "sign-in")
        if not await hashed.take():
            _give_back(failed)
            raise _limited("sign-ins and registrations", hashed, "password")
        try:
            answer = await attempt()
        except Problem:
            _give_back(failed, hashed)
            raise
        if answer.status != 401:
            _give_back(failed)
        if answer.status not in _HASHED:
            _give_back(hashed)
        return answer


def _give_back(*buckets: Bucket | None) -> None:
    for bucket in buckets:
        if bucket is not None:
            bucket.give_back()


def _limited(what: str, bucket: Bucket, policy: str) -> RateLimited:
    detail = f"Too many {what} from this address; try again later."
    return RateLimited(detail, bucket.wait_s, bucket.headers(policy))
