"""Thousands of worlds: in batches, each in a process of its own, on as many cores as there are.

A batch's process is forked, so a world needs no name to be found by, and whatever a test has put in
its place is there, too. When it ends, the system takes its memory back whole: a world is full of
cycles, and collecting them would be a tenth of the work.
"""

from __future__ import annotations

import gc
import os
import pickle
import selectors
import signal
import time
import traceback
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

from sagas.simulate.run import play, silence
from sagas.simulate.schedule import Schedule
from sagas.simulate.world import World

__all__ = ["Broken", "Item", "Played", "WorkerLost", "play_many"]

#: Worlds in one batch: half a second's work or so.
BATCH = 40

#: A seed, or a schedule made of one.
Item = int | Schedule


class WorkerLost(RuntimeError):
    """A batch did not come to its end: its process was killed, or a bug is in the simulator."""


@dataclass(frozen=True, slots=True)
class Broken:
    """What was wrong in the world of the item at this place."""

    place: int
    problems: tuple[str, ...]


@dataclass(slots=True)
class Played:
    """What became of some worlds. ``cpu_s``: what they took of a core, their process included."""

    worlds: int = 0
    sagas: int = 0
    crashes: int = 0
    cpu_s: float = 0.0
    broken: list[Broken] = field(default_factory=list)

    def add(self, other: Played) -> None:
        self.worlds += other.worlds
        self.sagas += other.sagas
        self.crashes += other.crashes
        self.cpu_s += other.cpu_s
        self.broken = sorted([*self.broken, *other.broken], key=lambda each: each.place)


def play_many(
    world: World, items: Iterable[Item], *, jobs: int | None = None
) -> Generator[Played, None, None]:
    """Play each item; yields what became of a batch as soon as it is over.

    ``jobs`` processes work at a time (default: one for each core). Whoever has seen enough closes
    the iterator, which ends them.
    """
    batches = _batches(items)
    if not hasattr(os, "fork"):
        for batch in batches:
            with _rare_collection():
                yield _play(world, batch, tidied=True)
        return
    gc.collect()
    gc.freeze()  # what is here already is not looked at, nor copied, in any batch
    try:
        yield from _forked(world, batches, jobs or os.cpu_count() or 1)
    finally:
        gc.unfreeze()


def _batches(items: Iterable[Item]) -> Iterator[list[tuple[int, Item]]]:
    numbered = enumerate(items)
    while batch := list(islice(numbered, BATCH)):
        yield batch


def _play(world: World, batch: Sequence[tuple[int, Item]], *, tidied: bool) -> Played:
    played, begin = Played(), time.process_time()
    with silence():
        for place, item in batch:
            schedule = world.schedule(item) if isinstance(item, int) else item
            result = play(world, schedule, traced=False, tidied=tidied)
            played.worlds += 1
            played.sagas += len(schedule.scripts)
            played.crashes += result.crashes
            if result.failed:
                played.broken.append(Broken(place, result.problems))
    played.cpu_s = time.process_time() - begin
    return played


@contextmanager
def _rare_collection() -> Iterator[None]:
    """Where there are no processes to end, collect between batches, not within."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect()


def _forked(world: World, batches: Iterator[list[tuple[int, Item]]], jobs: int) -> Iterator[Played]:
    with selectors.DefaultSelector() as selector:
        working: dict[int, _Worker] = {}
        try:
            while True:
                for batch in islice(batches, jobs - len(working)):
                    worker = _Worker(world, batch)
                    working[worker.pipe] = worker
                    selector.register(worker.pipe, selectors.EVENT_READ)
                if not working:
                    return
                for key, _ in selector.select():
                    worker = working[key.fd]
                    if worker.has_more():
                        continue
                    selector.unregister(worker.pipe)
                    del working[worker.pipe]
                    yield worker.result()
        finally:
            for worker in working.values():
                worker.kill()


class _Worker:
    """A forked process that plays one batch and says what became of it through a pipe."""

    def __init__(self, world: World, batch: Sequence[tuple[int, Item]]) -> None:
        self._first, self._last = batch[0][0], batch[-1][0]
        self._told = bytearray()
        self.pipe, theirs = os.pipe()
        with warnings.catch_warnings():
            # Newer Pythons warn of other threads: the child needs nothing that one could hold.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(self.pipe)
            _be_worker(world, batch, theirs)
        os.close(theirs)

    def has_more(self) -> bool:
        """Read what is there; False at the end."""
        part = os.read(self.pipe, 1 << 16)
        self._told += part
        return bool(part)

    def result(self) -> Played:
        """What it said. Raises ``WorkerLost``."""
        os.close(self.pipe)
        _, status, used = os.wait4(self._pid, 0)
        told = pickle.loads(self._told) if self._told and status == 0 else None
        if isinstance(told, Played):
            told.cpu_s = used.ru_utime + used.ru_stime
            return told
        why = told or f"their process ended with status {status}"
        raise WorkerLost(f"worlds {self._first} to {self._last} were not played: {why}")

    def kill(self) -> None:
        os.close(self.pipe)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _be_worker(world: World, batch: Sequence[tuple[int, Item]], pipe: int) -> None:
    """The whole life of the forked process: nothing of its parent's is cleaned up by it."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.disable()
        try:
            told: Played | str = _play(world, batch, tidied=False)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            told = f"{error!r} at {last.filename}:{last.lineno}"
        with os.fdopen(pipe, "wb") as out:
            pickle.dump(told, out)
        status = 0
    finally:
        os._exit(status)
