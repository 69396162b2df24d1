"""What every store promises about writing; each test quotes ``sagas.ports``.

Lists have a file of their own: ``test_store_queries``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from sagas.envelope import Message
from sagas.errors import StoreUnavailable
from sagas.ports import Collection, Outcome, Query, Record, Scalar, Store, Write

DONE, CONFLICT, DUPLICATE = Outcome.DONE, Outcome.CONFLICT, Outcome.DUPLICATE

PAYMENTS = Collection(
    "payments", ("status", "amount", "reference"), indexes=(("status",),), unique=("reference",)
)
ORDERS = Collection("orders", ("status",))


async def opened(process: Any, namespace: str = "shop") -> Store:
    store: Store = process.store(namespace)
    await store.open([PAYMENTS, ORDERS])
    return store


@pytest.fixture
async def store(process: Any) -> Store:
    return await opened(process)


def event(id: str, **attributes: Any) -> Message:
    given = {"type": "PaymentTaken", "source": "payment", "subject": "p1", "time": 1.5}
    return Message(id=id, saga_id="s1", **{**given, **attributes})


def insert(key: str, **rest: Any) -> Write:
    return Write("payments", key, 0, rest.pop("body", b"{}"), **rest)


def update(key: str, expected: int, **rest: Any) -> Write:
    return Write("payments", key, expected, rest.pop("body", b"{}"), **rest)


def delete(key: str, expected: int) -> Write:
    return Write("payments", key, expected, None)


async def stored(store: Store, key: str) -> Record:
    return (await store.load("payments", [key]))[key]


# ----------------------------------------------------------------------- one write is atomic


async def test_a_write_stores_everything_together(process: Any) -> None:
    """One write changes its record's body, fields, due time and outbox together."""
    store = await opened(process)
    fields: dict[str, Scalar] = {"status": "taken", "amount": 12.5, "reference": "r1"}
    write = insert(
        "p1", body=b"\x00\xff", fields=fields, due=3.5, expires=9.0, outbox=(event("m1"),)
    )
    assert await store.commit([write]) == [DONE]
    record = Record("p1", 1, b"\x00\xff", (event("m1"),), 3.5, fields, 9.0)
    assert await stored(store, "p1") == record
    assert await store.due("payments", 3.5, 10) == [(3.5, "p1")]
    assert await store.pending("payments", 10) == [record]
    assert await store.query("payments", Query(where={"status": "taken"})) == [record]


@pytest.mark.parametrize("fault", ["conflict", "duplicate"])
async def test_a_refused_write_changes_nothing(store: Store, fault: str) -> None:
    """… together or not at all."""
    before = insert("p1", body=b"old", fields={"status": "a"}, due=1.0, outbox=(event("m1"),))
    await store.commit([before, insert("p2", fields={"reference": "theirs"})])
    record = await stored(store, "p1")
    refused = update(
        "p1",
        expected=2 if fault == "conflict" else 1,
        body=b"new",
        fields={"status": "b", "reference": "theirs" if fault == "duplicate" else "mine"},
        due=2.0,
        outbox=(event("m2"),),
    )
    assert await store.commit([refused]) == [Outcome(fault)]
    assert await stored(store, "p1") == record
    assert await store.due("payments", 9.0, 10) == [(1.0, "p1")]
    assert await store.query("payments", Query(where={"status": "b"})) == []


async def test_a_write_replaces_all_of_the_state_before(store: Store) -> None:
    """The next state of one record."""
    await store.commit(
        [insert("p1", fields={"status": "a"}, due=1.0, expires=2.0, outbox=(event("m1"),))]
    )
    assert await store.commit([update("p1", 1, body=b"next")]) == [DONE]
    nothing = {"status": None, "amount": None, "reference": None}
    assert await stored(store, "p1") == Record("p1", 2, b"next", fields=nothing)
    assert await store.due("payments", 9.0, 10) == []
    assert await store.pending("payments", 10) == []
    assert await store.expire("payments", 9.0, 10) == 0


async def test_versions_start_at_one_and_grow_by_one(store: Store) -> None:
    """``version`` starts at 1 and grows by one with each write."""
    for version in range(4):
        assert await store.commit([update("p1", version)]) == [DONE]
        assert (await stored(store, "p1")).version == version + 1


async def test_the_outbox_keeps_every_attribute_and_the_order(process: Any) -> None:
    """``outbox`` is the whole of what is still to be published, new events last."""
    store = await opened(process)
    full = Message(
        id="m2",
        type="PaymentTaken",
        version=3,
        source="payment",
        subject="p1/ü",
        saga_id="s1",
        sequence=7,
        time=1_700_000_000.25,
        causation_id="m1",
        request_id="r1",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        attempt=4,
        to="order",
        data='{"amount":"12.50","note":"“ü\\"\\u0000”","nested":[{"a":null}]}'.encode(),
    )
    bare = Message(id="m1", type="T", source="s", subject="", saga_id=None, time=0.0)
    await store.commit([insert("p1", outbox=(full, bare))])
    await process.restart()
    store = await opened(process)
    assert (await stored(store, "p1")).outbox == (full, bare)


# ------------------------------------------------------------ writes of a commit are independent


async def test_some_writes_may_be_done_and_others_conflict(store: Store) -> None:
    """Writes of one ``commit`` are independent of each other: some may be done, others conflict."""
    await store.commit([insert("old"), insert("taken", fields={"reference": "r"})])
    outcomes = await store.commit(
        [
            insert("new"),
            insert("old"),
            update("missing", 1),
            insert("twin", fields={"reference": "r"}),
            delete("taken", 2),
            Write("orders", "new", 0, b"{}"),
        ]
    )
    assert outcomes == [DONE, CONFLICT, CONFLICT, DUPLICATE, CONFLICT, DONE]
    assert set(await store.load("payments", ["new", "old", "missing", "twin", "taken"])) == {
        "new",
        "old",
        "taken",
    }
    assert set(await store.load("orders", ["new"])) == {"new"}


async def test_a_commit_of_many_answers_in_their_order(store: Store) -> None:
    """One outcome per write, in their order."""
    await store.commit([insert(f"p{n}") for n in range(0, 500, 2)])
    outcomes = await store.commit([insert(f"p{n}") for n in range(500)])
    assert outcomes == [CONFLICT, DONE] * 250


async def test_of_many_updates_just_the_stale_ones_are_lost(store: Store) -> None:
    """A lost write takes no other with it, and leaves nothing of itself behind."""
    await store.commit([insert(f"p{n}") for n in range(60)])
    await store.commit([update(f"p{n}", 1, body=b'{"by":"another"}') for n in range(0, 60, 3)])
    updates = [update(f"p{n}", 1, body=b'{"by":"us"}') for n in range(60)]
    outcomes, bystander = await asyncio.gather(
        store.commit([*updates, update("missing", 1), insert("new")]),
        store.commit([Write("orders", "bystander", 0, b"{}")]),
    )
    assert outcomes == [CONFLICT, DONE, DONE] * 20 + [CONFLICT, DONE]
    assert bystander == [DONE]
    found = await store.load("payments", [f"p{n}" for n in range(60)])
    assert [(found[f"p{n}"].version, found[f"p{n}"].body) for n in range(60)] == [
        (2, b'{"by":"us"}' if n % 3 else b'{"by":"another"}') for n in range(60)
    ]
    assert set(await store.load("payments", ["missing", "new"])) == {"new"}
    assert set(await store.load("orders", ["bystander"])) == {"bystander"}


async def test_two_writes_to_one_record_are_refused_before_anything_happens(store: Store) -> None:
    """No two writes may name the same record."""
    with pytest.raises(ValueError, match="same record"):
        await store.commit([insert("other"), insert("p1"), update("p1", 1)])
    assert await store.load("payments", ["other", "p1"]) == {}


async def test_nothing_to_do_is_done_at_once(store: Store) -> None:
    assert await store.commit([]) == []
    assert await store.load("payments", []) == {}
    await store.settle("payments", {})


# --------------------------------------------------------------------------------- conflicts


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_version_is_a_conflict(store: Store, expected: int) -> None:
    """``expected`` is the version that must be stored now (0: the record must not exist)."""
    await store.commit([insert("p1")])
    await store.commit([update("p1", 1, body=b"two")])
    assert await store.commit([update("p1", expected, body=b"late")]) == [CONFLICT]
    assert (await stored(store, "p1")).body == b"two"


async def test_a_conflict_goes_before_a_duplicate(store: Store) -> None:
    """Another version is stored: reload and decide again."""
    await store.commit([insert("p1"), insert("p2", fields={"reference": "r"})])
    clash = {"reference": "r"}
    assert await store.commit([insert("p1", fields=clash)]) == [CONFLICT]
    assert await store.commit([update("p1", 7, fields=clash)]) == [CONFLICT]
    assert await store.commit([insert("p2", fields=clash)]) == [CONFLICT]


async def test_of_two_hundred_at_once_exactly_one_wins_each_version(store: Store) -> None:
    """The version that must be stored now: so no update is ever lost."""

    async def add_one(name: int) -> int:
        """Reload and decide again until it is in; how often that took."""
        for tries in range(1, 1000):
            now = (await store.load("payments", ["p1"])).get("p1")
            count = int(now.body) if now else 0
            write = update("p1", now.version if now else 0, body=b"%d" % (count + 1))
            if await store.commit([write]) == [DONE]:
                return tries
        raise AssertionError(f"writer {name} never won")

    tries = await asyncio.gather(*map(add_one, range(200)))
    final = await stored(store, "p1")
    assert (final.version, final.body) == (200, b"200")
    assert max(tries) > 1  # there was a race to win


async def test_of_two_hundred_with_one_version_one_is_done(store: Store) -> None:
    for version in range(3):
        commits = [store.commit([update("p1", version, body=b"%d" % n)]) for n in range(200)]
        outcomes = [outcome for (outcome,) in await asyncio.gather(*commits)]
        assert sorted(map(str, outcomes)) == sorted(map(str, [DONE] + [CONFLICT] * 199))
        winner = b"%d" % outcomes.index(DONE)
        assert (await stored(store, "p1")).body == winner


# --------------------------------------------------------------------------------- deletion


async def test_a_deleted_record_is_gone_and_its_key_is_free(store: Store) -> None:
    """``body`` ``None`` deletes."""
    await store.commit([insert("p1", due=1.0, outbox=(event("m1"),))])
    assert await store.commit([delete("p1", 2)]) == [CONFLICT]
    assert await store.commit([delete("p1", 1)]) == [DONE]
    assert await store.load("payments", ["p1"]) == {}
    assert await store.due("payments", 9.0, 10) == []
    assert await store.pending("payments", 10) == []
    assert await store.commit([delete("p1", 1)]) == [CONFLICT]
    assert await store.commit([insert("p1")]) == [DONE]
    assert (await stored(store, "p1")).version == 1


async def test_of_many_that_are_deleted_at_once_each_is_told_for_itself(store: Store) -> None:
    keys = [f"p{number}" for number in range(30)]
    await store.commit([insert(key) for key in keys])
    outcomes = await store.commit(
        [delete(key, 2 if key == "p7" else 1) for key in (*keys, "absent")]
    )
    lost = [key for key, told in zip((*keys, "absent"), outcomes, strict=True) if told is CONFLICT]
    assert lost == ["p7", "absent"]
    assert list(await store.load("payments", keys)) == ["p7"]


async def test_what_must_not_exist_cannot_be_deleted(store: Store) -> None:
    with pytest.raises(ValueError, match="expected=0"):
        await store.commit([delete("p1", 0)])


# ------------------------------------------------------------------------------ unique fields


async def test_a_unique_value_is_taken_once(store: Store) -> None:
    """A unique field has this value in another record already."""
    await store.commit([insert("p1", fields={"reference": "r1"}), insert("p2")])
    assert await store.commit([insert("p3", fields={"reference": "r1"})]) == [DUPLICATE]
    assert await store.commit([update("p2", 1, fields={"reference": "r1"})]) == [DUPLICATE]
    # Its own value is no clash, and another case is another value.
    assert await store.commit([update("p1", 1, fields={"reference": "r1"})]) == [DONE]
    assert await store.commit([update("p2", 1, fields={"reference": "R1"})]) == [DONE]


async def test_nothing_is_not_a_value_that_clashes(store: Store) -> None:
    """``unique`` names fields whose *non-null* values no two records may share."""
    none = {"reference": None}
    assert await store.commit([insert("p1", fields=none), insert("p2", fields=none)]) == [DONE] * 2
    assert await store.commit([insert("p3"), insert("p4")]) == [DONE] * 2


@pytest.mark.parametrize("freed_by", ["delete", "change", "expire"])
async def test_a_unique_value_becomes_free_again(store: Store, freed_by: str) -> None:
    taken = {"reference": "r1"}
    await store.commit([insert("p1", fields=taken, expires=1.0)])
    if freed_by == "delete":
        await store.commit([delete("p1", 1)])
    elif freed_by == "change":
        await store.commit([update("p1", 1, fields={"reference": "r2"})])
    else:
        await store.expire("payments", 1.0, 10)
    assert await store.commit([insert("p2", fields=taken)]) == [DONE]


async def test_of_many_at_once_one_gets_the_unique_value(store: Store) -> None:
    commits = [store.commit([insert(f"p{n}", fields={"reference": "r"})]) for n in range(100)]
    outcomes = [outcome for (outcome,) in await asyncio.gather(*commits)]
    assert (outcomes.count(DONE), outcomes.count(DUPLICATE)) == (1, 99)


# ------------------------------------------------------------------ durable, ordered, separate


async def test_what_was_done_is_there_after_a_restart(process: Any) -> None:
    """What ``commit`` reported done survives a crash of this process."""
    store = await opened(process)
    await store.commit([insert("p1", fields={"reference": "r"}, due=1.0, outbox=(event("m"),))])
    await store.commit([insert("gone")])
    await store.commit([delete("gone", 1)])
    before = await stored(store, "p1")
    await process.restart()
    store = await opened(process)
    assert await store.load("payments", ["p1", "gone"]) == {"p1": before}
    assert await store.pending("payments", 10) == [before]
    assert await store.due("payments", 1.0, 10) == [(1.0, "p1")]
    assert await store.commit([insert("p2", fields={"reference": "r"})]) == [DUPLICATE]


async def test_a_load_sees_the_commit_before_it(store: Store) -> None:
    """A ``load`` or ``query`` that starts after a ``commit`` returned sees it."""

    async def write_and_read(n: int) -> None:
        key = f"p{n}"
        for version in range(5):
            fields = {"status": f"{key} at {version}"}
            await store.commit([update(key, version, fields=fields)])
            assert (await stored(store, key)).version == version + 1
            (found,) = await store.query("payments", Query(where=fields))
            assert found.key == key

    await asyncio.gather(*map(write_and_read, range(20)))


async def test_services_do_not_see_each_others_records(process: Any) -> None:
    """Documents of one service."""
    payment, order = await opened(process, "payment"), await opened(process, "order")
    same = insert("p1", body=b"payment", fields={"reference": "r"})
    assert await payment.commit([same]) == [DONE]
    assert await order.load("payments", ["p1"]) == {}
    assert await order.commit([insert("p1", body=b"order", fields={"reference": "r"})]) == [DONE]
    assert (await stored(payment, "p1")).body == b"payment"


async def test_opening_is_safe_to_repeat_and_by_several_at_once(process: Any) -> None:
    """Safe to repeat, by several processes."""
    store = await opened(process)
    await store.commit([insert("p1")])
    await asyncio.gather(*(opened(process) for _ in range(5)), store.open([PAYMENTS]))
    assert (await stored(store, "p1")).version == 1


async def test_a_newer_declaration_adds_fields_to_stored_records(process: Any) -> None:
    """Create what is missing."""
    store = process.store("shop")
    await store.open([Collection("orders", ("status",))])
    await store.commit([Write("orders", "o1", 0, b"{}", fields={"status": "paid"})])
    await process.restart()
    newer = Collection("orders", ("city", "status"), (("city",),), unique=("city",))
    store = process.store("shop")
    await store.open([newer])
    (record,) = await store.query("orders", Query(where={"city": None}))
    assert record.fields == {"city": None, "status": "paid"}
    moved = Write("orders", "o1", 1, b"{}", fields={"city": "Bonn", "status": "paid"})
    assert await store.commit([moved]) == [DONE]
    assert len(await store.query("orders", Query(where={"city": "Bonn"}))) == 1
    twin = Write("orders", "o2", 0, b"{}", fields={"city": "Bonn"})
    assert await store.commit([twin]) == [DUPLICATE]


# ------------------------------------------------------------------------- what may be stored


async def test_load_finds_many_in_one_call(store: Store) -> None:
    """The records that exist among ``keys``. One round trip, whatever their number."""
    keys = [f"p{n}" for n in range(3000)]
    await store.commit([insert(key, body=key.encode()) for key in keys])
    found = await store.load("payments", [*keys, "missing", *keys[:3]])
    assert {key: record.body for key, record in found.items()} == {k: k.encode() for k in keys}


async def test_a_body_may_be_a_mebibyte_and_keys_any_text(process: Any) -> None:
    store = await opened(process)
    large = bytes(range(256)) * 4096
    keys = ["ключ-🗝", "a b/c?d=e&f", "'; DROP TABLE payments; --", '"', "%", "\\", "é", "e\u0301"]
    await store.commit([insert("large", body=large), *(insert(key) for key in keys)])
    await process.restart()
    store = await opened(process)
    assert (await stored(store, "large")).body == large
    assert set(await store.load("payments", keys)) == set(keys)


@pytest.mark.parametrize("value", ["", "x", 0, -5, 2**53, 1.5, True, False, None, "1", "ü'\"%"])
async def test_a_field_comes_back_as_it_was_written(process: Any, value: Any) -> None:
    store = await opened(process)
    await store.commit([insert("p1", fields={"amount": value})])
    await process.restart()
    store = await opened(process)
    assert (await stored(store, "p1")).fields["amount"] == value
    assert [r.key for r in await store.query("payments", Query(where={"amount": value}))] == ["p1"]


# -------------------------------------------------------------------------- mistakes, closing


async def test_what_is_not_declared_is_refused(store: Store) -> None:
    """``ValueError`` for an unknown collection or field."""
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: store.load("nothing", ["p1"]),
        lambda: store.commit([insert("p1"), Write("nothing", "p1", 0, b"{}")]),
        lambda: store.commit([insert("p1", fields={"nothing": 1})]),
        lambda: store.query("nothing", Query()),
        lambda: store.query("payments", Query(where={"nothing": 1})),
        lambda: store.query("payments", Query(at_least={"nothing": 1})),
        lambda: store.query("payments", Query(at_most={"nothing": 1})),
        lambda: store.query("payments", Query(contains={"nothing": "x"})),
        lambda: store.query("payments", Query(sort="nothing")),
        lambda: store.query("payments", Query(sort="status; DROP TABLE x")),
        lambda: store.due("nothing", 1.0, 1),
        lambda: store.pending("nothing", 1),
        lambda: store.settle("nothing", {"p1": frozenset({"m1"})}),
        lambda: store.expire("nothing", 1.0, 1),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"nothing|DROP"):
            await call()
    assert await store.load("payments", ["p1"]) == {}


@pytest.mark.parametrize(
    "collection",
    [
        Collection("Orders"),
        Collection("a b"),
        Collection("x; DROP TABLE y"),
        Collection("a__b"),
        Collection("orders", ("ok", "1st")),
        Collection("orders", ('a"b',)),
        Collection("orders", ("status",), indexes=(("city",),)),
        Collection("orders", ("status",), unique=("city",)),
    ],
)
async def test_a_bad_declaration_is_refused(process: Any, collection: Collection) -> None:
    with pytest.raises(ValueError, match=r"cannot name|has no field"):
        await process.store("shop").open([collection])


async def test_a_field_may_be_called_like_a_keyword(process: Any) -> None:
    names = ("order", "group", "key", "version", "body", "due", "select")
    store = process.store("shop")
    await store.open([Collection("table", names, (("order", "group"),), unique=("select",))])
    fields = dict.fromkeys(names, "x")
    await store.commit([Write("table", "k", 0, b"{}", fields=fields)])
    (record,) = await store.query("table", Query(where=fields, sort="order"))
    assert record.fields == fields


async def test_closing_finishes_what_is_under_way(process: Any) -> None:
    """Finish commits under way and let go of everything. Safe to repeat."""
    store = await opened(process)
    commits = [asyncio.create_task(store.commit([insert(f"p{n}")])) for n in range(50)]
    await asyncio.sleep(0)  # let each get under way
    await store.close()
    assert [commit.done() and commit.result() for commit in commits] == [[DONE]] * 50
    await store.close()
    calls: list[Callable[[], Awaitable[object]]] = [
        store.ping,
        lambda: store.load("payments", ["p1"]),
        lambda: store.commit([insert("late")]),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailable, match="closed"):
            await call()
    assert len(await (await opened(process)).query("payments", Query(limit=99))) == 50


async def test_a_store_that_can_be_read_answers_a_ping(store: Store) -> None:
    """Return when the store can be read."""
    await store.ping()
