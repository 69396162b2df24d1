"""The server did it, and nobody heard: a write that is committed again finds itself done."""

from __future__ import annotations

import pytest

from sagas.errors import StoreUnavailable
from sagas.ports import Outcome, Write
from sagas.system import SystemClock, SystemIds
from sagas.web.claims import COLLECTION, Claims
from tests.mongodb.conftest import OpenStore, event, order, stored
from tests.mongodb.proxy import Proxy

DONE, CONFLICT = Outcome.DONE, Outcome.CONFLICT


async def again(store, writes: list[Write]) -> list[Outcome]:
    """Commit, hear nothing, and commit the same writes again, as the engine does."""
    with pytest.raises(StoreUnavailable):
        await store.commit(writes)
    return await store.commit(writes)


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_new_record_whose_answer_was_lost_is_there_once(
    open_store: OpenStore, proxy: Proxy, lost: str
) -> None:
    store = await open_store(proxy.url)
    setattr(proxy, "lose_answer_to" if lost == "answer" else "lose_request_of", "insert")
    assert await again(store, [order("o1", outbox=(event("m1"),)), order("o2")]) == [DONE, DONE]
    assert proxy.lost.is_set()
    assert (await stored(store, "o1")).outbox == (event("m1"),)
    assert (await stored(store, "o2")).version == 1


@pytest.mark.parametrize("lost", ["answer", "request"])
async def test_a_change_whose_answer_was_lost_is_made_once(
    open_store: OpenStore, proxy: Proxy, lost: str
) -> None:
    store = await open_store(proxy.url)
    await store.commit([order(key) for key in ("o1", "o2", "o3")])
    await store.commit([order("o3", 1, b"theirs")])
    setattr(proxy, "lose_answer_to" if lost == "answer" else "lose_request_of", "update")
    changes = [order("o1", 1, b"mine"), order("o2", 1, b"mine"), order("o3", 1, b"mine")]
    assert await again(store, changes) == [DONE, DONE, CONFLICT]
    assert proxy.lost.is_set()
    for key in ("o1", "o2"):
        assert (await stored(store, key)).version == 2
        assert (await stored(store, key)).body == b"mine"
    assert (await stored(store, "o3")).body == b"theirs"


async def test_new_ones_beside_changes_are_known_again_too(
    open_store: OpenStore, proxy: Proxy
) -> None:
    store = await open_store(proxy.url)
    await store.commit([order(key) for key in ("o1", "o2")])
    proxy.lose_answer_to = "update"
    writes = [order("o1", 1), order("new"), order("o2")]
    assert await again(store, writes) == [DONE, DONE, CONFLICT]
    assert (await stored(store, "new")).version == 1


async def test_it_is_known_again_although_others_wrote_on_top_of_it(
    open_store: OpenStore, proxy: Proxy
) -> None:
    store, other = await open_store(proxy.url), await open_store()
    mine, new = order("o1", 1, b"mine"), order("new", 0, b"mine")
    await store.commit([order("o1")])
    proxy.lose_answer_to = "update"
    with pytest.raises(StoreUnavailable):
        await store.commit([mine, new])
    for version in range(2, 8):
        later = [order("o1", version, b"theirs"), order("new", version - 1, b"theirs")]
        assert await other.commit(later) == [DONE, DONE]
    assert await store.commit([mine, new]) == [DONE, DONE]
    assert (await stored(store, "o1")).body == b"theirs"


async def test_the_same_content_written_by_another_is_not_mistaken_for_ones_own(
    open_store: OpenStore, proxy: Proxy
) -> None:
    """Two that add one to 5 both write 6: one of them has to look again."""
    store, other = await open_store(proxy.url), await open_store()
    await store.commit([order("o1", 0, b"5")])
    proxy.lose_request_of = "update"
    mine = order("o1", 1, b"6")
    with pytest.raises(StoreUnavailable):
        await store.commit([mine])
    assert await other.commit([order("o1", 1, b"6")]) == [DONE]
    assert await store.commit([mine]) == [CONFLICT]


async def test_a_delete_whose_answer_was_lost_is_a_conflict_and_the_record_is_gone(
    open_store: OpenStore, proxy: Proxy
) -> None:
    """Nothing is left that could tell: whoever looks again sees that there is nothing to do."""
    store = await open_store(proxy.url)
    await store.commit([order("o1")])
    proxy.lose_answer_to = "delete"
    assert await again(store, [order("o1", 1, None)]) == [CONFLICT]
    assert await store.load("orders", ["o1"]) == {}


async def test_sent_events_are_taken_out_again_when_the_answer_was_lost(
    open_store: OpenStore, proxy: Proxy
) -> None:
    store = await open_store(proxy.url)
    await store.commit([order("o1", outbox=(event("m1"), event("m2")))])
    proxy.lose_answer_to = "update"
    with pytest.raises(StoreUnavailable):
        await store.settle("orders", {"o1": frozenset({"m1"})})
    await store.settle("orders", {"o1": frozenset({"m1"})})
    assert (await stored(store, "o1")).outbox == (event("m2"),)


async def test_a_claim_whose_answer_was_lost_is_held_at_once(
    open_store: OpenStore, proxy: Proxy
) -> None:
    """Else whoever repeats the request would wait for the lease to end."""
    store = await open_store(proxy.url)
    await store.open([COLLECTION])
    claims = Claims(store, SystemClock(), SystemIds(), wait_s=0.0, lease_s=60.0)
    proxy.lose_answer_to = "insert"
    claim = await claims.claim("key", "the request")
    assert proxy.lost.is_set()
    assert (claim.version, claim.finished) == (1, False)
