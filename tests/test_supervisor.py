"""The supervisor, with small real processes: it prints, restarts and ends them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shop.supervisor import Patience, Program, Supervisor

#: Nothing here takes longer than moments; a test that hangs is told so.
LIMIT_S = 60.0
#: Says that it is up, and stops as it should when it is told to.
GOOD = """
import signal, sys, time
def stop(*_):
    print("stopping", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True: signal.pause()
"""
STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
while True: signal.pause()
"""


class Pauses:
    """A clock on which a pause is noted and takes no time, or for ever."""

    def __init__(self, for_ever: bool = False) -> None:
        self.taken: list[float] = []
        self._for_ever = for_ever

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        await (asyncio.Event().wait() if self._for_ever else asyncio.sleep(0))


class Watched:
    """A supervisor at work, and what it says."""

    def __init__(self, patience: Patience | None, pauses: Pauses | None) -> None:
        self.pauses = pauses or Pauses()
        self.stop = asyncio.Event()
        self.lines: list[str] = []
        self._more = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()
        self.supervisor = Supervisor(self._hear, self.pauses, patience)
        self.running: asyncio.Task[int] | None = None

    def _hear(self, line: str) -> None:
        self.lines.append(line)
        task = asyncio.create_task(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self) -> None:
        async with self._more:
            self._more.notify_all()

    async def said(self, line: str, times: int = 1) -> None:
        """Until it has said this line so many times."""
        async with self._more:
            await self._more.wait_for(lambda: self.lines.count(line) >= times)

    async def ended(self) -> int:
        assert self.running is not None
        return await self.running


@asynccontextmanager
async def supervised(
    *programs: Program, patience: Patience | None = None, pauses: Pauses | None = None
) -> AsyncIterator[Watched]:
    async with asyncio.timeout(LIMIT_S):
        watched = Watched(patience, pauses)
        watched.running = asyncio.create_task(watched.supervisor.run(programs, watched.stop))
        try:
            yield watched
        finally:
            watched.stop.set()
            watched.supervisor.hurry()
            await watched.running


def python(name: str, code: str, *arguments: object, stage: int = 0) -> Program:
    command = (sys.executable, "-c", code, *map(str, arguments))
    return Program(name, command, dict(os.environ), stage)


async def test_what_a_program_prints_stands_behind_its_name() -> None:
    shouting = "import sys; print('out'); print('err', file=sys.stderr); print('end', end='')"
    async with supervised(python("a", shouting), python("longer", GOOD)) as watched:
        await watched.said("a      | out")
        await watched.said("a      | err")
        await watched.said("a      | end")
        await watched.said("longer | up")


async def test_programs_go_on_when_nobody_can_be_told(tmp_path: Path) -> None:
    """More than a pipe holds is printed to a full disk: whoever printed it would stand still."""
    done = tmp_path / "done"
    chatty = "import sys; print('x' * 500_000, flush=True); open(sys.argv[1], 'w').close()"
    tried = asyncio.Event()

    def say(line: str) -> None:
        tried.set()
        raise OSError(28, "No space left on device")

    async with asyncio.timeout(LIMIT_S):
        stop = asyncio.Event()
        supervisor = Supervisor(say, Pauses(for_ever=True), None)
        running = asyncio.create_task(supervisor.run([python("a", chatty, done)], stop))
        await tried.wait()
        while not done.exists():  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.01)
        stop.set()
        assert await running == 1


async def test_a_line_without_end_is_shown_in_pieces() -> None:
    endless = "import sys; print('x' * 200_000)\n" + GOOD
    async with supervised(python("a", endless)) as watched:
        await watched.said("a | up")
        pieces = [line.removeprefix("a | ") for line in watched.lines[:-1]]
    assert "".join(pieces) == "x" * 200_000
    assert len(pieces) > 1


async def test_one_that_ends_is_started_again_after_pauses_that_grow() -> None:
    patience = Patience(first_s=1, longest_s=4)
    async with supervised(python("a", "raise SystemExit(7)"), patience=patience) as watched:
        await watched.said("a | ended with 7; starts again in 4 s", times=2)
    assert watched.pauses.taken[:4] == [1, 2, 4, 4]


async def test_after_a_good_while_the_pauses_begin_anew() -> None:
    patience = Patience(first_s=1, settled_s=0)
    async with supervised(python("a", "raise SystemExit(7)"), patience=patience) as watched:
        await watched.said("a | ended with 7; starts again in 1 s", times=3)
    assert set(watched.pauses.taken) == {1}


async def test_one_that_is_killed_lives_again_and_the_others_notice_nothing() -> None:
    telling = "import os; print('I am', os.getpid(), flush=True)\n" + GOOD
    async with supervised(python("a", telling), python("b", GOOD)) as watched:
        await watched.said("b | up")
        await watched.said("a | up")
        (pid,) = (line.removeprefix("a | I am ") for line in watched.lines if "I am" in line)
        os.kill(int(pid), signal.SIGKILL)
        await watched.said("a | ended by SIGKILL; starts again in 1 s")
        await watched.said("a | up", times=2)
        assert watched.lines.count("b | up") == 1


async def test_a_stop_ends_the_edge_before_what_stands_behind_it() -> None:
    behind = [python(name, GOOD, stage=1) for name in ("b", "c")]
    async with supervised(*behind, python("a", GOOD)) as watched:
        for name in "abc":
            await watched.said(f"{name} | up")
        watched.stop.set()
        assert await watched.ended() == 0
    assert watched.lines[3] == "a | stopping"
    assert sorted(watched.lines[4:]) == ["b | stopping", "c | stopping"]


async def test_one_that_does_not_stop_is_killed_and_told() -> None:
    patience = Patience(grace_s=0.1)
    async with supervised(python("a", STUBBORN), patience=patience) as watched:
        await watched.said("a | up")
        watched.stop.set()
        assert await watched.ended() == 1
    assert "a | does not stop and is killed" in watched.lines


async def test_who_is_in_a_hurry_waits_for_nobody() -> None:
    async with supervised(python("a", STUBBORN)) as watched:
        await watched.said("a | up")
        watched.stop.set()
        watched.supervisor.hurry()
        assert await watched.ended() == 1


async def test_one_that_can_never_start_stops_everything() -> None:
    wrong = "print('payment: SHOP_SEED is wrong'); raise SystemExit(2)"
    async with supervised(python("a", wrong), python("b", GOOD)) as watched:
        assert await watched.ended() == 2
    assert "a | payment: SHOP_SEED is wrong" in watched.lines
    assert "a | cannot start: everything stops" in watched.lines


async def test_a_stop_during_a_pause_does_not_wait_for_its_end() -> None:
    program = python("a", "raise SystemExit(7)")
    async with supervised(program, pauses=Pauses(for_ever=True)) as watched:
        await watched.said("a | ended with 7; starts again in 1 s")
        watched.stop.set()
        assert await watched.ended() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent")
async def test_when_the_supervisor_is_killed_its_programs_stop_too(tmp_path: Path) -> None:
    supervising = """
import asyncio, os, sys
from sagas.system import SystemClock
from shop.supervisor import Program, Supervisor
program = Program("a", sys.argv[1:], dict(os.environ))
asyncio.run(Supervisor(print, SystemClock()).run([program], asyncio.Event()))
"""
    telling = """
import signal, socket, sys
def stop(*_):
    wire.send(b"told to stop")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
wire = socket.socket(socket.AF_UNIX)
wire.connect(sys.argv[1])
wire.send(b"up\\n")
while True: signal.pause()
"""
    calls: asyncio.Queue[asyncio.StreamReader] = asyncio.Queue()
    path = tmp_path / "wire"

    async def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await calls.put(reader)
        await over.wait()
        writer.close()

    over = asyncio.Event()
    async with asyncio.timeout(LIMIT_S), await asyncio.start_unix_server(called, path):
        command = (sys.executable, "-c", supervising, sys.executable, "-c", telling, str(path))
        supervisor = await asyncio.create_subprocess_exec(*command)
        program = await calls.get()
        assert await program.readline() == b"up\n"
        supervisor.kill()
        await supervisor.wait()
        assert await program.read() == b"told to stop"
        over.set()
