"""Rate limits, per client and per upstream: token buckets of aiolimiter, which refuse at once.

The headers are those of the IETF draft "RateLimit header fields for HTTP", version 11.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

from aiolimiter import AsyncLimiter

from gateway.calls import Call, RateLimited, UpstreamRequest, UpstreamResponse
from gateway.settings import GatewaySettings, UpstreamLimits

__all__ = ["Bucket", "ClientLimits", "Clients", "UpstreamLimit"]

#: How many of the longest unused clients are looked at to make room for another one.
LOOKS = 8


class Bucket(AsyncLimiter):
    """So many requests a second, and ``burst`` at once.

    The limiter itself can only wait: here nobody does. On the event loop's monotonic clock.
    """

    __slots__ = ()

    def __init__(self, rate_per_s: float, burst: int) -> None:
        super().__init__(burst, burst / rate_per_s)

    async def take(self) -> bool:
        """One request, if there is room for it."""
        if not self.has_capacity():
            return False
        await self.acquire()  # at once: nobody came in between
        return True

    def give_back(self) -> None:
        """Undo a ``take``."""
        self._level = max(0.0, self._level - 1)

    @property
    def left(self) -> int:
        """How many requests there is room for now."""
        return int(self.max_rate - self._used())

    @property
    def is_untouched(self) -> bool:
        """Whether a new bucket would allow no more."""
        return self._used() == 0

    @property
    def wait_s(self) -> float:
        """Until there is room for one more."""
        return max(0.0, self._used() + 1 - self.max_rate) * self.time_period / self.max_rate

    def policy(self, name: str) -> str:
        """An item of ``RateLimit-Policy``."""
        return f'"{name}";q={self.max_rate:.0f};w={max(1, math.ceil(self.time_period))}'

    def state(self, name: str) -> str:
        """An item of ``RateLimit``: what is left, and for how many seconds that may be all."""
        return f'"{name}";r={self.left};t={max(1, math.ceil(self.wait_s))}'

    def headers(self, name: str) -> dict[str, str]:
        """Both header fields."""
        return {"RateLimit-Policy": self.policy(name), "RateLimit": self.state(name)}

    def _used(self) -> float:
        self._leak()
        return self._level


class Clients:
    """A bucket for each client, ``most`` of them remembered.

    An untouched bucket is the same as a new one, so those may be forgotten. While none of
    the longest unused is, whoever comes anew shares one bucket: a crowd of addresses makes the
    gateway neither forget whom it limits, nor grow.
    """

    def __init__(self, rate_per_s: float, burst: int, most: int) -> None:
        self._make: Callable[[], Bucket] = lambda: Bucket(rate_per_s, burst)
        self._most = most
        self._known: OrderedDict[str, Bucket] = OrderedDict()
        self._crowd = self._make()

    def __len__(self) -> int:
        return len(self._known)

    def bucket(self, client: str) -> Bucket:
        """This client's."""
        bucket = self._known.get(client)
        if bucket is None:
            if len(self._known) >= self._most and not self._make_room():
                return self._crowd
            bucket = self._known[client] = self._make()
        else:
            self._known.move_to_end(client)
        return bucket

    def _make_room(self) -> bool:
        for _ in range(LOOKS):
            client, bucket = next(iter(self._known.items()))
            if bucket.is_untouched:
                del self._known[client]
                return True
            self._known.move_to_end(client)
        return False


class ClientLimits:
    """Who is known has a bucket by who they are, anybody else one by their address.

    Those who are known at one address share another, wide one: accounts cost nothing, and many of
    them must not make one address as strong as a crowd.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        most = settings.limited_clients
        self.customers = Clients(settings.customer_rate_per_s, settings.customer_burst, most)
        self.addresses = Clients(settings.anonymous_rate_per_s, settings.anonymous_burst, most)
        self.together = Clients(settings.address_rate_per_s, settings.address_burst, most)

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self.customers) + len(self.addresses) + len(self.together)

    async def take(self, subject: str | None, address: str) -> tuple[bool, Bucket, str]:
        """Whether one more request is allowed; the bucket that says so, and its policy's name."""
        if subject is None:
            bucket = self.addresses.bucket(address)
            return await bucket.take(), bucket, "anonymous"
        bucket = self.customers.bucket(subject)
        if not await bucket.take():
            return False, bucket, "customer"
        together = self.together.bucket(address)
        if not await together.take():
            bucket.give_back()
            return False, together, "address"
        return True, bucket, "customer"


class UpstreamLimit:
    """A policy: what all clients together may ask of one upstream."""

    def __init__(self, limits: UpstreamLimits) -> None:
        self.bucket = Bucket(limits.upstream_rate_per_s, limits.upstream_burst)

    async def __call__(self, call: Call, request: UpstreamRequest) -> UpstreamResponse:
        if not await self.bucket.take():
            detail = f"All clients together ask too much of the {request.service} service."
            raise RateLimited(detail, self.bucket.wait_s, self.bucket.headers(request.service))
        return await call(request)
