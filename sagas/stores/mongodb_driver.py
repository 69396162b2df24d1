"""The two drivers for MongoDB behind one face: motor, and PyMongo's own asynchronous client.

motor runs PyMongo in threads and is the default; it gets critical fixes only until May 2027. Its
successor is chosen by ``driver=pymongo`` in the URL. Both give their methods the same names, so
that nothing but this file knows which one is at work.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode

from bson.errors import BSONError
from pymongo import monitoring
from pymongo.errors import (
    BulkWriteError,
    ConfigurationError,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri

from sagas.errors import SettingError, StoreUnavailable

__all__ = ["DRIVERS", "Connection"]

T = TypeVar("T")

DRIVERS = ("motor", "pymongo")

#: What the URL may set otherwise. ``timeoutMS`` limits each operation as a whole; the driver falls
#: back on the others where it works for itself, as when it closes.
TIMEOUT_S = 5.0
TIMEOUTS = ("timeoutMS", "serverSelectionTimeoutMS", "connectTimeoutMS", "socketTimeoutMS")
DEFAULTS = {"w": "majority", "journal": True, "appname": "sagas"}
#: The code of a value that a unique index has already: of ``_id`` or of a field.
DUPLICATE_KEY = 11000
#: … of values that the server does not take: bad in themselves, too large.
BAD_VALUES = (2, 10334)
#: … and of those who may not enter, or not do this.
REFUSALS = (13, 18)
#: What a database's name may begin with.
_PREFIX = re.compile(r"[A-Za-z0-9_-]{1,30}")
#: Beyond the driver's own limit: it should end by itself, and tell more.
GRACE_S = 1.0


class _RoundTrips(monitoring.CommandListener):
    """Counts what is sent, by database. Called on the driver's threads."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self.sent[event.database_name] += 1

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


class Client(Protocol):
    """As much of both clients as is used here."""

    def __getitem__(self, name: str) -> Any: ...

    def close(self) -> Any: ...


class Connection:
    """One client, whose connections are made when they are needed; belongs to one event loop."""

    def __init__(self, url: str) -> None:
        self._url, self.driver = _driver_of(url)
        try:
            parsed = parse_uri(self._url, warn=False)
        except (ConfigurationError, ValueError) as error:
            # The message may show the URL, whose password is nobody's business.
            what = "" if "@" in url else f": {error}"
            raise SettingError(f"the store's mongodb: URL cannot be read{what}") from None
        self.prefix: str = parsed["database"] or "sagas"
        if parsed["collection"] is not None or not _PREFIX.fullmatch(self.prefix):
            raise SettingError(
                "the path of the store's mongodb: URL begins the names of databases: "
                "use up to 30 letters, digits, hyphens and underscores"
            )
        self.address = ", ".join(f"{host}:{port}" for host, port in parsed["nodelist"])
        given = {name.lower(): value for name, value in parsed["options"].items()}
        if given.get("w") == 0 or given.get("readpreference", "primary") != "primary":
            raise SettingError(
                "the store's mongodb: URL must not have w=0 or a readPreference: a service acts "
                "on what was written, and on all of it"
            )
        # The parser has made seconds of it.
        self.limit_s = given.get("timeoutms") or TIMEOUT_S
        mine = {**DEFAULTS, **dict.fromkeys(TIMEOUTS, int(self.limit_s * 1000))}
        self._options = {name: mine[name] for name in mine if name.lower() not in given}
        self._count = _RoundTrips()
        self._make = _client_class(self.driver)
        self._client: Client | None = None

    def database(self, name: str) -> Any:
        """A database of the server; nothing is sent yet."""
        if self._client is None:
            self._client = self._connect()
        return self._client[name]

    def round_trips(self, database: str) -> int:
        """Commands sent to ``database`` so far."""
        return self._count.sent[database]

    async def answer(self, call: Awaitable[T], limit_s: float | None = None) -> T:
        """What ``call`` comes to; ``StoreUnavailable`` when the server is out of reach.

        Within a ``pymongo.timeout`` of its own a call is given that here, too, as ``limit_s``.
        ``BulkWriteError`` passes when it only tells which of many writes met a value that a unique
        index has already. A value that cannot be stored is a ``ValueError``.
        """
        try:
            async with asyncio.timeout((limit_s or self.limit_s) + GRACE_S):
                return await call
        except TimeoutError as error:
            raise self.unavailable("no answer", error) from error
        except BulkWriteError as error:
            if (other := _other_failure(error)) is not None:
                raise self.unavailable(other, error) from error
            raise
        except (BSONError, OverflowError, UnicodeError, TypeError) as error:
            raise ValueError(f"MongoDB cannot store or look for this: {error}") from error
        except PyMongoError as error:
            if isinstance(error, OperationFailure) and error.code in BAD_VALUES:
                raise ValueError(f"MongoDB cannot store or look for this: {error}") from error
            raise self.unavailable(_reason(error), error) from error

    def unavailable(self, reason: str, error: BaseException | None = None) -> StoreUnavailable:
        """The outage, in one line that says where and what to do."""
        advice = "is it running, and is the address right?"
        if isinstance(error, OperationFailure):
            advice = "see the server's log"
            if error.code in REFUSALS:
                advice = "check the user, its password and its rights"
        return StoreUnavailable(f"MongoDB at {self.address} cannot be used ({reason}); {advice}")

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is None:
            return
        if self.driver == "motor":
            await asyncio.to_thread(client.close)  # it joins threads
        else:
            await client.close()

    def _connect(self) -> Client:
        options = dict(self._options)
        if self.driver == "motor":
            options["io_loop"] = asyncio.get_running_loop()
        return self._make(self._url, event_listeners=[self._count], **options)


def _client_class(driver: str) -> Callable[..., Client]:
    if driver == "pymongo":
        from pymongo import AsyncMongoClient

        return AsyncMongoClient
    try:
        from motor.motor_asyncio import AsyncIOMotorClient
    except ImportError as error:
        raise SettingError(
            f"a mongodb: store needs its drivers ({error}): pip install 'saga-shop[servers]', "
            "or add driver=pymongo to the options of its URL"
        ) from error
    motor: Callable[..., Client] = AsyncIOMotorClient
    return motor


def _driver_of(url: str) -> tuple[str, str]:
    """The URL without our own option, and the driver it names."""
    address, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    drivers = [value for name, value in options if name == "driver"] or [DRIVERS[0]]
    if len(drivers) > 1 or drivers[0] not in DRIVERS:
        raise SettingError(
            f"driver={drivers[-1]} in the store's mongodb: URL is not known: "
            f"use one of {', '.join(DRIVERS)}"
        )
    others = urlencode([(name, value) for name, value in options if name != "driver"])
    return (f"{address}?{others}" if others else address), drivers[0]


def _other_failure(error: BulkWriteError) -> str | None:
    """What else befell a bulk write: not to be durable, say, or a fault of the server's."""
    details = error.details
    failed = [each for each in details["writeErrors"] if each["code"] != DUPLICATE_KEY]
    for each in (*failed, *details["writeConcernErrors"]):
        return f"error {each.get('code')}"
    return None


def _reason(error: PyMongoError) -> str:
    """What the driver says, without timeouts and topology; what the server says is in its log.

    Readiness shows this to anybody.
    """
    if isinstance(error, OperationFailure):
        name = (error.details or {}).get("codeName")
        return f"error {error.code}" + (f", {name}" if name else "")
    said = str(error)
    for more in (" (configured", ", Timeout:", ", full error"):
        said = said.partition(more)[0]
    return said
