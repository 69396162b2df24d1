"""What every store promises about lists, timers and outboxes; each test quotes ``sagas.ports``."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from sagas.envelope import Message
from sagas.ports import Collection, Outcome, Query, Record, Scalar, Store, Write

ORDERS = Collection(
    "orders", ("status", "city", "total"), indexes=(("status",), ("status", "total"))
)


@pytest.fixture
async def store(process: Any) -> Store:
    store: Store = process.store("order")
    await store.open([ORDERS])
    return store


def event(id: str) -> Message:
    return Message(id=id, type="OrderPlaced", source="o", subject="o", saga_id="s", time=0.0)


def order(key: str, **rest: Any) -> Write:
    return Write("orders", key, 0, b"{}", **rest)


async def fill(store: Store, **orders: dict[str, Scalar]) -> None:
    await store.commit([order(key, fields=fields) for key, fields in orders.items()])


async def found(store: Store, **options: Any) -> list[str]:
    return [record.key for record in await store.query("orders", Query(**options))]


async def waiting(store: Store) -> dict[str, list[str]]:
    """Key → ids of the messages in its outbox."""
    records = await store.pending("orders", 100)
    return {record.key: [message.id for message in record.outbox] for record in records}


# ------------------------------------------------------------------------------- conditions


async def test_equality_and_any_of(store: Store) -> None:
    """``where``: equality (a tuple means any of its values). All conditions must hold."""
    await fill(
        store,
        a={"status": "paid", "city": "Bonn"},
        b={"status": "paid", "city": "Köln"},
        c={"status": "new", "city": "Bonn"},
        d={"status": None},
        e={"status": "lost", "city": None},
    )
    assert await found(store) == ["a", "b", "c", "d", "e"]
    assert await found(store, where={"status": "paid"}) == ["a", "b"]
    assert await found(store, where={"status": "paid", "city": "Bonn"}) == ["a"]
    assert await found(store, where={"status": ("new", "paid"), "city": "Bonn"}) == ["a", "c"]
    assert await found(store, where={"status": None}) == ["d"]
    assert await found(store, where={"status": ("lost", None)}) == ["d", "e"]
    assert await found(store, where={"status": ()}) == []
    assert await found(store, where={"status": "Paid"}) == []


async def test_a_number_is_not_the_text_of_it(store: Store) -> None:
    await fill(store, number={"total": 1}, text={"total": "1"}, yes={"status": True})
    assert await found(store, where={"total": 1}) == ["number"]
    assert await found(store, where={"total": 1.0}) == ["number"]
    assert await found(store, where={"total": "1"}) == ["text"]
    assert await found(store, where={"status": True}) == ["yes"]


async def test_bounds_are_inclusive_and_leave_nothing_out_but_nulls(store: Store) -> None:
    """``at_least`` / ``at_most``: inclusive bounds."""
    orders: dict[str, dict[str, Scalar]] = {
        f"o{n}": {"total": n, "city": f"c{n}"} for n in range(6)
    }
    await fill(store, **orders, none={})
    assert await found(store, at_least={"total": 4}) == ["o4", "o5"]
    assert await found(store, at_most={"total": 1.5}) == ["o0", "o1"]
    assert await found(store, at_least={"total": 2}, at_most={"total": 3}) == ["o2", "o3"]
    assert await found(store, at_least={"city": "c5"}) == ["o5"]
    assert await found(store, at_most={"city": "c0"}, where={"total": (0, 1)}) == ["o0"]


async def test_contains_ignores_ascii_case_only(store: Store) -> None:
    """``contains``: the field, a string, contains the text, ignoring ASCII case."""
    await fill(
        store,
        a={"city": "Königswinter"},
        b={"city": "KÖNIGSTEIN"},
        c={"city": None},
        d={"city": ""},
    )
    assert await found(store, contains={"city": "k"}) == ["a", "b"]
    assert await found(store, contains={"city": "NIGS"}) == ["a", "b"]
    assert await found(store, contains={"city": "könig"}) == ["a"]
    assert await found(store, contains={"city": "stein"}) == ["b"]
    assert await found(store, contains={"city": ""}) == ["a", "b", "d"]


@pytest.mark.parametrize("text", ["%", "_", ".*", "[a]", "\\", "*", "^", "$", "(", "?"])
async def test_contains_takes_text_never_a_pattern(store: Store, text: str) -> None:
    """The text is plain, never a pattern."""
    await fill(store, plain={"city": "anything a b"}, special={"city": f"some{text}thing"})
    assert await found(store, contains={"city": text}) == ["special"]


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE order__orders; --",
        '" OR 1=1 --',
        "x' OR 'x'='x",
        "?1",
        ":name",
        "{$ne: null}",
    ],
)
async def test_hostile_values_are_only_values(store: Store, text: str) -> None:
    await fill(store, mine={"status": text, "city": text}, other={"status": "x", "city": "y"})
    for options in (
        {"where": {"status": text}},
        {"where": {"status": (text, "nothing")}},
        {"contains": {"city": text}},
        {"at_least": {"city": text}, "at_most": {"city": text}},
    ):
        assert await found(store, **options) == ["mine"]
    assert await store.load("orders", [text]) == {}
    behind = ["other"] if text < "y" else []
    assert await found(store, sort="city", after=(text, "mine")) == behind
    assert await found(store) == ["mine", "other"]


# ---------------------------------------------------------------------------- order and pages


async def test_the_limit_holds(store: Store) -> None:
    """At most ``query.limit`` records."""
    await fill(store, **{f"o{n:02}": {} for n in range(30)})
    assert await found(store, limit=2) == ["o00", "o01"]
    assert await found(store, limit=2, descending=True) == ["o29", "o28"]
    assert len(await found(store)) == 20
    assert await found(store, limit=0) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("sort", [None, "total", "city"])
async def test_pages_join_into_the_whole_list(
    store: Store, sort: str | None, descending: bool, size: int
) -> None:
    """``after`` is the ``(sort value, key)`` of the last record of the page before.

    Through ties and through records that have no value: none twice, none left out.
    """
    totals = [None, 1, 2.5, None, 2.5, -1, 1, None, 2.5, 10]
    cities: list[Scalar] = ["b", None, "ä", "b", "B", None, "", "a", "b", None]
    pairs = zip(totals, cities, strict=True)
    await fill(store, **{f"o{n}": {"total": t, "city": c} for n, (t, c) in enumerate(pairs)})
    whole = await store.query(
        "orders", Query(sort=sort, descending=descending, limit=100, where={"status": None})
    )
    assert len(whole) == 10

    def place(record: Record) -> tuple[Any, ...]:
        value = record.fields[sort] if sort else None
        return (value is not None, value if value is not None else 0, record.key)

    # Nothing sorts below everything; ties go by key, in the same direction.
    assert whole == sorted(whole, key=place, reverse=descending)

    pages: list[list[Record]] = []
    after: tuple[Scalar, str] | None = None
    for _ in itertools.repeat(None, 20):
        page = await store.query(
            "orders", Query(sort=sort, descending=descending, limit=size, after=after)
        )
        if not page:
            break
        pages.append(page)
        after = (page[-1].fields[sort] if sort else None, page[-1].key)
    assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1)
    assert [record for page in pages for record in page] == whole


async def test_a_page_goes_on_where_the_last_record_was_deleted(store: Store) -> None:
    await fill(store, a={"total": 1}, b={"total": 1}, c={"total": 2})
    await store.commit([Write("orders", "a", 1, None)])
    assert await found(store, sort="total", after=(1, "a")) == ["b", "c"]


# ------------------------------------------------------------------------------------- timers


async def test_timers_come_earliest_first(store: Store) -> None:
    """``(due, key)`` of records with ``due <= until``, earliest first."""
    dues = {"late": 9.0, "b": 2.0, "a": 2.0, "first": 0.5, "edge": 3.0, "never": None}
    await store.commit([order(key, due=due) for key, due in dues.items()])
    assert await store.due("orders", 3.0, 10) == [
        (0.5, "first"),
        (2.0, "a"),
        (2.0, "b"),
        (3.0, "edge"),
    ]
    assert await store.due("orders", 3.0, 2) == [(0.5, "first"), (2.0, "a")]
    assert await store.due("orders", 0.0, 2) == []


async def test_a_timer_moves_with_its_record(store: Store) -> None:
    await store.commit([order("a", due=1.0), order("b", due=2.0)])
    await store.commit([Write("orders", "a", 1, b"{}", due=3.0)])
    assert await store.due("orders", 9.0, 10) == [(2.0, "b"), (3.0, "a")]


async def test_expired_records_go(store: Store) -> None:
    """Delete at most ``limit`` records with ``expires <= now``; how many went."""
    await store.commit([order(f"o{n}", expires=float(n), due=1.0) for n in range(6)])
    await store.commit([order("kept")])
    assert await store.expire("orders", 3.0, 3) == 3
    assert await store.expire("orders", 3.0, 3) == 1
    assert await store.expire("orders", 3.0, 3) == 0
    assert await found(store) == ["kept", "o4", "o5"]
    assert await store.due("orders", 9.0, 10) == [(1.0, "o4"), (1.0, "o5")]
    assert await store.commit([order("o0")]) == [Outcome.DONE]


# ----------------------------------------------------------------------------------- outboxes


async def test_pending_pages_by_key(store: Store) -> None:
    """Records whose outbox is not empty, by key, those behind key ``after`` if given."""
    writes = [order(f"o{n}", outbox=(event(f"m{n}"),) if n % 2 else ()) for n in range(10)]
    await store.commit(writes)
    first = await store.pending("orders", 2)
    assert [record.key for record in first] == ["o1", "o3"]
    assert [message.id for message in first[0].outbox] == ["m1"]
    rest = await store.pending("orders", 10, after="o3")
    assert [record.key for record in rest] == ["o5", "o7", "o9"]
    assert await store.pending("orders", 10, after="o9") == []


async def test_settling_takes_what_was_sent_out_of_outboxes(store: Store) -> None:
    """Take published messages (record key → message ids) out of outboxes."""
    await store.commit(
        [
            order("a", outbox=(event("m1"), event("m2"), event("m3"))),
            order("b", outbox=(event("m1"),)),
            order("c", outbox=(event("m4"),)),
        ]
    )
    sent = {
        "a": frozenset({"m2", "unknown"}),
        "c": frozenset({"m4"}),
        "missing": frozenset({"m1"}),
    }
    await store.settle("orders", sent)
    assert await waiting(store) == {"a": ["m1", "m3"], "b": ["m1"]}
    await store.settle("orders", sent)  # a repeat finds nothing to do
    assert await waiting(store) == {"a": ["m1", "m3"], "b": ["m1"]}


async def test_settling_nothing_takes_nothing(store: Store) -> None:
    """With no ids it only finishes what a kill interrupted: an outbox that is empty already."""
    await store.commit([order("a", outbox=(event("m1"),)), order("b", outbox=(event("m2"),))])
    await store.settle("orders", {"b": frozenset({"m2"})})
    await store.settle("orders", {"a": frozenset(), "b": frozenset(), "missing": frozenset()})
    assert await waiting(store) == {"a": ["m1"]}


async def test_settling_does_not_disturb_a_write_under_way(store: Store) -> None:
    """Does not change versions."""
    await store.commit([order("a", outbox=(event("m1"),), due=1.0, fields={"status": "new"})])
    before = (await store.load("orders", ["a"]))["a"]
    await store.settle("orders", {"a": frozenset({"m1"})})
    after = (await store.load("orders", ["a"]))["a"]
    assert after == Record("a", 1, b"{}", (), 1.0, before.fields)
    assert await store.commit([Write("orders", "a", 1, b"next")]) == [Outcome.DONE]


async def test_settling_while_commits_race_it_loses_no_event(store: Store) -> None:
    """May leave some in place (a write came between); never takes what was not sent."""
    await store.commit([order("a")])

    async def emit() -> None:
        for version in range(1, 60):
            record = (await store.load("orders", ["a"]))["a"]
            outbox = (*record.outbox, event(f"m{version}"))
            write = Write("orders", "a", version, b"{}", outbox=outbox)
            assert await store.commit([write]) == [Outcome.DONE]

    async def send(done: asyncio.Task[None], sent: set[str]) -> None:
        while not done.done() or await waiting(store):
            ids = (await waiting(store)).get("a", [])
            sent.update(ids)
            await store.settle("orders", {"a": frozenset(ids)})

    emitting, sent = asyncio.create_task(emit()), set[str]()
    await asyncio.gather(emitting, send(emitting, sent))
    assert sent == {f"m{version}" for version in range(1, 60)}
    assert (await store.load("orders", ["a"]))["a"].version == 60
