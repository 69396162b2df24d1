"""A server that is away, frozen or wrong: what the store says, how soon, and that it recovers."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from sagas import SettingError, StoreUnavailable
from sagas.outages import patiently
from sagas.ports import Outcome, Query
from sagas.stores.mongodb import PING_S, MongoDatabase, MongoStore
from sagas.stores.mongodb_driver import TIMEOUT_S
from sagas.system import SystemClock
from sagas.web.health import Check
from tests.mongodb.conftest import ORDERS, OpenStore, order, stored
from tests.mongodb.proxy import Proxy

T = TypeVar("T")

#: Much less than the default, so that these tests are quick.
LIMIT_MS = 300


def everything(store: MongoStore) -> list[Callable[[], Awaitable[object]]]:
    return [
        lambda: store.load("orders", ["o1"]),
        lambda: store.commit([order("new")]),
        lambda: store.commit([order("o1", 1), order("o2", 1, None)]),
        lambda: store.query("orders", Query()),
        lambda: store.due("orders", 1.0, 1),
        lambda: store.pending("orders", 1),
        lambda: store.settle("orders", {"o1": frozenset({"m1"})}),
        lambda: store.expire("orders", 1.0, 1),
        store.ping,
    ]


class Pulse:
    """How long the event loop was kept from its work at most: in beats of a thread that goes on
    meanwhile, and stands still with us when the whole process does."""

    BEAT_S = 0.005

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = threading.Event()
        self._beats = self._last = self._longest = 0
        self._thread = threading.Thread(target=self._beat)
        self._thread.start()
        self._next = self._loop.call_soon(self._look)

    def _beat(self) -> None:
        while not self._over.wait(self.BEAT_S):
            self._beats += 1

    def _look(self) -> None:
        self._longest, self._last = max(self._longest, self._beats - self._last), self._beats
        self._next = self._loop.call_later(self.BEAT_S, self._look)

    def stop(self) -> float:
        """Seconds."""
        self._next.cancel()
        self._over.set()
        self._thread.join()
        return self._longest * self.BEAT_S


@pytest.mark.parametrize("how", ["refuse", "freeze"])
async def test_every_call_says_within_its_limit_that_the_server_is_away_and_where(
    open_store: OpenStore, proxy: Proxy, how: str
) -> None:
    """Every method raises ``StoreUnavailable`` when the store is out of reach."""
    store = await _opened(open_store, proxy)
    getattr(proxy, how)()
    pulse = Pulse()
    try:
        async with asyncio.timeout(TIMEOUT_S):  # what holds for those who set no limit
            calls = (call() for call in everything(store))
            said = await asyncio.gather(*calls, return_exceptions=True)
    finally:
        longest_s = pulse.stop()
    for error in said:
        assert isinstance(error, StoreUnavailable)
        assert re.match(r"MongoDB at 127\.0\.0\.1:\d+ cannot be used", str(error))
    assert longest_s < LIMIT_MS / 1000 / 2  # nothing waited on the event loop


async def _opened(open_store: OpenStore, proxy: Proxy) -> MongoStore:
    """A store with this limit, however long the server took to make its collections."""
    store = await open_store(proxy.url, opened=False, timeoutMS=LIMIT_MS)
    await _until_there(lambda: store.open([ORDERS]))
    return store


@pytest.mark.parametrize("how", ["refuse", "freeze"])
async def test_it_works_again_by_itself_when_the_server_is_back(
    open_store: OpenStore, proxy: Proxy, how: str
) -> None:
    store = await _opened(open_store, proxy)
    getattr(proxy, how)()
    write = order("o1")
    with pytest.raises(StoreUnavailable):
        await store.commit([write])
    if how == "refuse":
        await proxy.listen()
    else:
        proxy.thaw()
    # Once, whether the first try got there or not.
    assert await _until_there(lambda: store.commit([write])) == [Outcome.DONE]
    assert (await _until_there(lambda: stored(store, "o1"))).version == 1
    await _until_there(store.ping)


async def _until_there(call: Callable[[], Awaitable[T]]) -> T:
    """As the engine does."""
    return await patiently(call, SystemClock(), "the test")


async def test_a_server_that_is_away_at_the_start_is_opened_later(
    open_store: OpenStore, proxy: Proxy
) -> None:
    proxy.refuse()
    store = await open_store(proxy.url, opened=False, timeoutMS=LIMIT_MS)
    with pytest.raises(StoreUnavailable):
        await store.open([ORDERS])
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await proxy.listen()
    await _until_there(lambda: store.open([ORDERS]))
    write = order("o1")
    assert await _until_there(lambda: store.commit([write])) == [Outcome.DONE]


async def test_readiness_hears_soon_that_the_server_does_not_answer(
    open_store: OpenStore, proxy: Proxy
) -> None:
    assert Check(_nothing).limit_s > PING_S
    store = await open_store(proxy.url)
    proxy.freeze()
    with pytest.raises(StoreUnavailable, match=r"timed out|no answer"):
        async with asyncio.timeout(TIMEOUT_S):  # what holds for everything else
            await store.ping()


async def _nothing() -> None: ...


async def test_what_is_under_way_ends_when_the_store_closes(
    open_store: OpenStore, proxy: Proxy
) -> None:
    store = await _opened(open_store, proxy)
    proxy.freeze()
    commit = asyncio.create_task(store.commit([order("o1")]))
    await asyncio.sleep(0)
    async with asyncio.timeout(TIMEOUT_S):
        await store.close()
    with pytest.raises(StoreUnavailable):
        await commit


# -------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mongodb://", "cannot be read"),
        ("mongodb://host:port/", "cannot be read"),
        ("mongodb://user:hunter2@host:port/", "cannot be read"),
        ("mongodb://host/?driver=mongoose", "use one of motor, pymongo"),
        ("mongodb://host/?driver=motor&driver=pymongo", "use one of motor, pymongo"),
        ("mongodb://host/?timeoutMS=soon", "timeoutms"),
        ("mongodb://host/?nonsense=1", "nonsense"),
        ("mongodb://host/?w=0", "must not have w=0"),
        ("mongodb://host/?readPreference=secondaryPreferred", "must not have"),
        ("mongodb://host/a.b", "begins the names"),
        ("mongodb://host/%C3%BC", "begins the names"),
    ],
)
def test_a_url_that_cannot_be_read_stops_the_start_with_one_line(url: str, said: str) -> None:
    with pytest.raises(SettingError, match=said) as error:
        MongoDatabase(url)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


async def test_a_value_that_cannot_be_stored_fails_its_own_commit_only(store: MongoStore) -> None:
    good = [store.commit([order(f"o{n}")]) for n in range(5)]
    bad = [
        store.commit([order("huge", fields={"total": 2**70})]),
        store.commit([order("surrogate", fields={"status": "\ud800"})]),
        store.commit([order("list", fields={"status": {1, 2}})]),
        store.commit([order("large", body=bytes(17 * 2**20))]),
    ]
    results = await asyncio.gather(*good, *bad, return_exceptions=True)
    assert results[:5] == [[Outcome.DONE]] * 5
    assert [type(result) for result in results[5:]] == [ValueError] * 4
    assert await store.load("orders", ["huge", "surrogate", "list", "large"]) == {}
    with pytest.raises(ValueError, match="cannot store or look for"):
        await store.query("orders", Query(where={"total": 2**70}))
    with pytest.raises(ValueError, match="cannot store or look for"):
        await store.load("orders", ["\ud800"])


async def test_who_may_not_enter_is_told_without_the_password(proxy: Proxy) -> None:
    url = proxy.url.replace("//", "//nobody:hunter2@")
    database = MongoDatabase(url)
    store = database.store("shop")
    with pytest.raises(StoreUnavailable, match=r"AuthenticationFailed.*check the user") as error:
        await store.open([ORDERS])
    assert "hunter2" not in str(error.value)
    await database.close()
