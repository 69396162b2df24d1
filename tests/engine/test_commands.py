"""Commands: each caller hears what became of its own command, and of what is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Never

import pytest
from pydantic import BaseModel

from sagas import (
    Command,
    CommandRefused,
    Decision,
    Duplicate,
    Participant,
    Refusal,
    Reply,
    Runner,
)
from sagas.brokers.embedded import EmbeddedBroker
from sagas.intake import topics_of
from sagas.ports import Outcome, Store, Write
from sagas.testing.harness import RecordingBroker
from sagas.testing.memory import MemoryDatabase
from sagas.testing.virtual import SeededIds, VirtualClock


class Account(BaseModel):
    email: str
    version: int = 1


class Open(Command):
    email: str


class Edit(Command):
    email: str
    expected: int


class Close(Command):
    pass


accounts = Participant(
    "accounts",
    state=Account,
    key=lambda event: "unused",
    dedupe="none",
    fields=lambda account: {"email": account.email},
    names=("email",),
    unique=("email",),
)


@accounts.command(Open)
def open_account(command: Open, account: Account | None) -> Decision[Account, Never]:
    return Decision(account or Account(email=command.email))


@accounts.command(Edit)
def edit(command: Edit, account: Account) -> Decision[Account, Never] | Refusal:
    if account.version != command.expected:
        return Refusal("stale_version", "It has changed.")
    return Decision(Account(email=command.email, version=account.version + 1))


@accounts.command(Close)
def close(command: Close, account: Account | None) -> Decision[Account, Never] | Refusal:
    if account is None:
        return Refusal("not_found", "There is no such account.")
    return Decision(Account(email="", version=account.version + 1))


class Instance:
    """One process of the service."""

    def __init__(self, store: Store) -> None:
        self.clock = VirtualClock()
        self.broker = RecordingBroker(EmbeddedBroker())
        self.runner = Runner(
            accounts,
            store=store,
            broker=self.broker,
            clock=self.clock,
            ids=SeededIds(1, self.clock),
        )

    async def __aenter__(self) -> Instance:
        await self.broker.open({"accounts": topics_of(accounts)})
        await self.runner.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.runner.kill()

    async def do(self, key: str, command: BaseModel, **more: Any) -> Reply:
        return await self.runner.execute(accounts.saga, key, command, **more)

    async def stored(self, key: str) -> Any:
        return await self.runner.get(accounts.saga, key)


async def test_a_refused_command_never_runs_after_all() -> None:
    """Its batch's write is lost to a taken address: what was refused is decided again, once."""
    async with Instance(MemoryDatabase().store("accounts")) as one:
        await one.do("a", Open(email="a@x"))
        await one.do("b", Open(email="b@x"))
        taken, refused = await asyncio.gather(
            one.do("a", Edit(email="b@x", expected=1)),
            one.do("a", Edit(email="c@x", expected=1)),
            return_exceptions=True,
        )
        assert isinstance(taken, Duplicate)
        # The first came to nothing, so the second was right about the version after all.
        assert isinstance(refused, Reply)
        assert (await one.stored("a")).email == "c@x"


async def test_a_command_of_two_instances_never_becomes_a_dead_letter() -> None:
    database = MemoryDatabase()
    async with (
        Instance(database.store("accounts")) as one,
        Instance(database.store("accounts")) as two,
    ):
        await one.do("a", Open(email="a@x"))
        await two.do("a", Edit(email="a2@x", expected=1))  # what `one` has cached is now stale
        answers = await asyncio.gather(
            one.do("a", Edit(email="b@x", expected=1)),
            one.do("a", Edit(email="c@x", expected=1)),
            return_exceptions=True,
        )
        assert all(isinstance(answer, CommandRefused) for answer in answers)
        assert (await one.stored("a")).email == "a2@x"
        assert not one.broker.messages, "nothing went wrong that a person would have to mend"


async def test_a_refusal_is_decided_on_what_is_stored_not_on_a_stale_copy() -> None:
    database = MemoryDatabase()
    async with (
        Instance(database.store("accounts")) as one,
        Instance(database.store("accounts")) as two,
    ):
        await one.do("a", Open(email="a@x"))
        await two.do("a", Edit(email="a2@x", expected=1))
        reply = await one.do("a", Edit(email="b@x", expected=2))
        assert reply.state.version == 3


async def test_a_taken_value_blames_only_the_command_that_asked_for_it() -> None:
    async with Instance(MemoryDatabase().store("accounts")) as one:
        await one.do("a", Open(email="a@x"))
        await one.do("b", Open(email="b@x"))
        good, bad = await asyncio.gather(
            one.do("a", Edit(email="a9@x", expected=1)),
            one.do("a", Edit(email="b@x", expected=2)),
            return_exceptions=True,
        )
        assert isinstance(good, Reply)
        assert isinstance(bad, Duplicate)
        assert (await one.stored("a")).email == "a9@x"


class _Watched:
    """A store that lets a test look, or wait, in the middle of a call."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.before_commit: Any = None
        self.after_load: Any = None

    async def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        if self.before_commit is not None:
            await self.before_commit()
        return await self._inner.commit(writes)

    async def load(self, collection: str, keys: Sequence[str]) -> Any:
        found = await self._inner.load(collection, keys)
        if self.after_load is not None:
            await self.after_load()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


async def test_a_slow_read_never_replaces_a_newer_document() -> None:
    store = _Watched(MemoryDatabase().store("accounts"))
    async with Instance(store) as one:  # type: ignore[arg-type]
        await one.do("a", Open(email="a@x"))
        one.clock.skew_s += 5
        gate, reading = asyncio.Event(), asyncio.Event()

        async def stall() -> None:
            reading.set()
            await gate.wait()

        store.after_load = stall
        slow = asyncio.create_task(one.runner.cached(accounts.saga, ["a"], 1.0))
        await reading.wait()
        store.after_load = None
        await one.do("a", Edit(email="b@x", expected=1))
        gate.set()
        await slow
        before = one.runner.counts.conflicts
        assert (await one.do("a", Edit(email="c@x", expected=2))).state.version == 3
        assert one.runner.counts.conflicts == before


async def test_nobody_reads_what_is_not_stored_yet() -> None:
    store = _Watched(MemoryDatabase().store("accounts"))
    async with Instance(store) as one:  # type: ignore[arg-type]
        await one.do("a", Open(email="a@x"))
        await one.do("b", Open(email="b@x"))
        seen: dict[str, Any] = {}

        async def look() -> None:
            seen.update(await one.runner.cached(accounts.saga, ["a"], 1.0))

        store.before_commit = look
        with pytest.raises(Duplicate):
            await one.do("a", Edit(email="b@x", expected=1))
        assert seen["a"].email == "a@x"


@pytest.fixture
def reads() -> tuple[_Watched, list[object]]:
    """A store, and what was read of it."""
    store, seen = _Watched(MemoryDatabase().store("accounts")), list[object]()

    async def note() -> None:
        seen.append(store)

    store.after_load = note
    return store, seen


async def test_the_first_command_of_a_document_reads_nothing(
    reads: tuple[_Watched, list[object]],
) -> None:
    store, seen = reads
    async with Instance(store) as one:  # type: ignore[arg-type]
        reply = await one.do("a", Open(email="a@x"), first=True)
        assert reply.state == Account(email="a@x")
        assert seen == []
        await one.do("b", Open(email="b@x"))
        assert len(seen) == 1


async def test_a_first_command_that_was_not_the_first_is_decided_on_what_is_stored() -> None:
    database = MemoryDatabase()
    async with (
        Instance(database.store("accounts")) as one,
        Instance(database.store("accounts")) as two,
    ):
        await one.do("a", Open(email="a@x"))
        await one.do("a", Edit(email="a2@x", expected=1))
        reply = await two.do("a", Open(email="b@x"), first=True)
        assert reply.state == Account(email="a2@x", version=2)
        assert await one.stored("a") == reply.state


async def test_a_first_command_is_refused_only_on_what_is_stored() -> None:
    database = MemoryDatabase()
    async with (
        Instance(database.store("accounts")) as one,
        Instance(database.store("accounts")) as two,
    ):
        await one.do("a", Open(email="a@x"))
        assert (await two.do("a", Close(), first=True)).state.version == 2
        with pytest.raises(CommandRefused):
            await two.do("b", Close(), first=True)
        # It insists on a document, so somebody looks.
        edit = Edit(email="a3@x", expected=2)
        assert (await one.do("a", edit, first=True)).state.version == 3


async def test_of_several_commands_in_one_batch_all_look_when_one_must(
    reads: tuple[_Watched, list[object]],
) -> None:
    store, seen = reads
    async with Instance(store) as one:  # type: ignore[arg-type]
        opened = one.do("a", Open(email="a@x"), first=True)
        edited = one.do("a", Edit(email="a2@x", expected=1))
        _, reply = await asyncio.gather(opened, edited)
        assert reply.state == Account(email="a2@x", version=2)
        assert len(seen) == 1
